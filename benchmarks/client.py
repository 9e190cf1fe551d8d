"""A small HTTP client on raw sockets, keep-alive: it must cost less than what it measures."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httptools

HOST = "127.0.0.1"


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.open = False
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport, self.open = transport, True

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        answer, self._answer = self._answer, None
        if not self._parser.should_keep_alive():
            self.close()
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if answer is not None and not answer.done():
            answer.set_result(status)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed before the answer was complete"))

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.close()

    def send(self, request: bytes) -> asyncio.Future[int]:
        """Send; the future becomes the answer's status."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer


def request(path: str) -> bytes:
    """A GET as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()


async def connect(port: int) -> Connection:
    """A connection to *port*. Raises OSError when it is refused."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    return connection


@dataclass(slots=True)
class Record:
    """One request; moments are monotonic seconds; status 0 means no answer."""

    sent_at: float
    done_at: float = 0.0
    status: int = 0

    @property
    def took(self) -> float:
        return self.done_at - self.sent_at


@dataclass(slots=True)
class Stream:
    """Requests that arrive at a rate, whether or not earlier ones have been answered."""

    port: int
    path: str
    rate: float
    records: list[Record] = field(default_factory=list)
    _idle: list[Connection] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _broken: list[BaseException] = field(default_factory=list)

    async def warm(self, connections: int) -> None:
        """Have so many connections open before the first request arrives."""
        self._idle += [await connect(self.port) for _ in range(connections)]

    async def arrive(self, seconds: float) -> None:
        """Send for *seconds*; return when the last was sent, not answered."""
        began, number = time.monotonic(), 0
        while (due := number / self.rate) < seconds:
            late = began + due - time.monotonic()
            if late > 0:
                await asyncio.sleep(late)
            task = asyncio.create_task(self._one())
            self._under_way.add(task)
            task.add_done_callback(self._ended)
            number += 1

    async def settle(self, timeout: float) -> None:
        """Wait for the answers, at most *timeout* seconds, and close every connection.

        Raises whatever was not the server's doing.
        """
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        if self._broken:
            raise self._broken[0]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._broken.append(error)

    async def _one(self) -> None:
        record = Record(time.monotonic())
        self.records.append(record)
        try:
            connection = await self._connection()
            record.sent_at = time.monotonic()
            record.status = await connection.send(request(self.path))
        except OSError:
            record.done_at = time.monotonic()
            return
        record.done_at = time.monotonic()
        self._idle.append(connection)

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return await connect(self.port)


async def closed_loop(port: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    """So many connections, each sending the next request when the last is answered."""
    wire = request(path)
    opened = [await connect(port) for _ in range(connections)]
    began = time.monotonic()
    counts = await asyncio.gather(*(_loop(one, wire, began + seconds) for one in opened))
    took = time.monotonic() - began
    for one in opened:
        one.close()
    good, bad = sum(one[0] for one in counts), sum(one[1] for one in counts)
    return {"requests": good, "failed": bad, "seconds": took}


async def _loop(connection: Connection, wire: bytes, until: float) -> tuple[int, int]:
    good = bad = 0
    while time.monotonic() < until:
        status = await connection.send(wire)
        good += status == 200
        bad += status != 200
    return good, bad


def main() -> None:
    """`python -m benchmarks.client PORT PATH CONNECTIONS SECONDS`: the closed loop, as JSON."""
    import uvloop

    port, path, connections, seconds = sys.argv[1:]
    done = uvloop.run(closed_loop(int(port), path, int(connections), float(seconds)))
    print(json.dumps(done))


if __name__ == "__main__":
    main()
