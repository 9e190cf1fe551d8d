"""One proxied connection: two streams, and everything that can befall them.

A stream has a reader and a carrier with a short queue between, so that latency delays bytes without
slowing them, and a full queue slows the sender down. Decisions are in `toxics`; this file waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from holdfast.drill.toxics import (
    Applied,
    Direction,
    Memory,
    Path,
    Piece,
    Then,
    Timeout,
    Toxic,
    ends_after,
    plan,
)

if TYPE_CHECKING:
    from holdfast.drill.proxy import Proxy

_CHUNK = 65_536
_QUEUE = 64
_RST = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends a reset


@dataclass(slots=True)
class Stream:
    """One direction of a link."""

    direction: Direction
    queue: asyncio.Queue[Piece] = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    toxics: list[tuple[Toxic, Memory]] = field(default_factory=list)
    lost: bool = False  # it lost bytes, so it never speaks again


class Side:
    """One end of a link: a socket, and its streams once there are any."""

    __slots__ = ("ready", "socket", "streams")

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.ready = asyncio.Event()

    async def open(self, connected: socket.socket) -> None:
        """Wrap a connected socket."""
        self.socket = connected
        self.streams = await asyncio.open_connection(sock=connected)
        self.ready.set()

    async def reader(self) -> asyncio.StreamReader:
        """Where this end's bytes come from; waits until it is connected."""
        await self.ready.wait()
        assert self.streams is not None
        return self.streams[0]

    async def writer(self) -> asyncio.StreamWriter:
        """Where bytes for this end go; waits until it is connected."""
        await self.ready.wait()
        assert self.streams is not None
        return self.streams[1]

    def reset(self) -> None:
        """Close with RST, whatever is still buffered."""
        if self.socket is None or self.socket.fileno() < 0:
            return
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        if self.streams is not None:
            self.streams[1].transport.abort()

    async def close(self) -> None:
        """Close with FIN, after what is still buffered."""
        if self.streams is not None:
            self.streams[1].close()
            with contextlib.suppress(OSError):  # the peer was quicker
                await self.streams[1].wait_closed()


class Link:
    """A client's connection and its counterpart to the server; owned by one task."""

    task: asyncio.Task[None]

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._accepted = client
        self._client, self._server = Side(), Side()
        self._client.socket = client
        self._up, self._down = Stream(Direction.UPSTREAM), Stream(Direction.DOWNSTREAM)
        self._cut_on_answer = False
        self._timers: list[asyncio.TimerHandle] = []
        self._started = False
        for applied in proxy.toxics:
            self.feel(applied)

    # ── told by the proxy ────────────────────────────────────────────────────────────────────

    def feel(self, applied: Applied) -> None:
        """Come under a toxic, as its chance will have it."""
        if self._proxy.dice.random() >= applied.toxicity:
            return
        stream = self._up if applied.direction is Direction.UPSTREAM else self._down
        stream.toxics.append((applied.toxic, Memory()))
        if ending := ends_after(applied.toxic):
            after, how = ending
            end = self._reset_and_count if how is Then.RESET else self._finish
            self._timers.append(asyncio.get_running_loop().call_later(after, end))

    def feel_nothing(self) -> None:
        """Be free of all toxics; what they took stays lost."""
        for stream in (self._up, self._down):
            stream.toxics.clear()
        self._stop_timers()
        self._cut_on_answer = False

    def reset(self) -> None:
        """Reset both ends now."""
        if not self._started:
            self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            self._accepted.close()
        for side in (self._client, self._server):
            side.reset()
        self._finish()

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Carry bytes until both directions have ended, or the link is reset."""
        self._started = True
        try:
            await self._client.open(self._accepted)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._connect())
                for stream, source, sink in (
                    (self._up, self._client, self._server),
                    (self._down, self._server, self._client),
                ):
                    tasks.create_task(self._read(stream, source))
                    tasks.create_task(self._carry(stream, sink))
        except* OSError:  # one end is gone: the other is told by a reset
            for side in (self._client, self._server):
                side.reset()
        finally:
            self._stop_timers()
            await self._client.close()
            await self._server.close()

    async def _connect(self) -> None:
        """Reach the server once the path allows; never, when the client has lost bytes by then."""
        while self._proxy.path is not Path.PASS:
            await self._proxy.changed()
        if self._up.lost:
            return
        upstream = socket.socket()
        upstream.setblocking(False)
        self._server.socket = upstream
        try:
            await asyncio.get_running_loop().sock_connect(upstream, self._proxy.upstream)
        except BaseException:
            upstream.close()
            raise
        await self._server.open(upstream)

    async def _read(self, stream: Stream, source: Side) -> None:
        reader = await source.reader()
        try:
            while data := await reader.read(_CHUNK):
                for piece in self._decide(stream, Piece(time.monotonic(), data)):
                    await stream.queue.put(piece)
            last = Then.END
        except ConnectionError:
            last = Then.RESET
        for piece in self._decide(stream, Piece(time.monotonic(), b"", last)):
            await stream.queue.put(piece)

    def _decide(self, stream: Stream, piece: Piece) -> list[Piece]:
        """What becomes of bytes that have just come: cuts first, then the toxics in order."""
        if stream is self._up and piece.data and (cut := self._proxy.cut_on(piece.data)):
            if cut.before:
                self._cut()
                return []
            piece = replace(piece, then=Then.RESET_ON_ANSWER)
        if stream is self._down and piece.data and self._cut_on_answer:
            self._cut()
            return []
        pieces = [piece]
        for toxic, memory in stream.toxics:
            if isinstance(toxic, Timeout) and piece.data:
                stream.lost = True
                self._proxy.count(vanished=len(piece.data))
            pieces = plan(toxic, pieces, memory, self._proxy.dice)
        return pieces

    async def _carry(self, stream: Stream, sink: Side) -> None:
        while True:
            piece = await stream.queue.get()
            await asyncio.sleep(piece.due_at - time.monotonic())
            await self._passable(piece)
            if piece.data and not stream.lost:
                await self._deliver(stream, await sink.writer(), piece)
            match piece.then:
                case Then.END:
                    await self._end(sink)
                    return
                case Then.CLOSE:
                    self._finish()
                case Then.RESET:
                    self._reset_and_count()
                case Then.GO_ON | Then.RESET_ON_ANSWER:
                    pass

    async def _passable(self, piece: Piece) -> None:
        """Wait while the path holds *piece*; a black hole takes data and holds the end."""
        while True:
            match self._proxy.path:
                case Path.PASS | Path.REFUSE:
                    return
                case Path.BLACK_HOLE if piece.data:
                    self._up.lost = self._down.lost = True
                    self._proxy.count(vanished=len(piece.data))
                    return
                case Path.BLACK_HOLE | Path.STALL:
                    await self._proxy.changed()

    async def _deliver(self, stream: Stream, writer: asyncio.StreamWriter, piece: Piece) -> None:
        allowed = self._proxy.burn(stream.direction, len(piece.data))
        data = piece.data if allowed is None else piece.data[:allowed]
        if data:
            writer.write(data)
            self._proxy.count(**{stream.direction.value: len(data)})
        if allowed is not None:
            self._cut()
            return
        if piece.then is Then.RESET_ON_ANSWER:
            self._cut_on_answer = True
        await writer.drain()

    async def _end(self, sink: Side) -> None:
        """Pass a half-close on; with nobody there to hear it the link is over."""
        if sink.socket is None:
            self._finish()
            return
        writer = await sink.writer()
        writer.write_eof()

    # ── ends ─────────────────────────────────────────────────────────────────────────────────

    def _cut(self) -> None:
        self._proxy.count(cuts=1)
        self._reset_and_count()

    def _reset_and_count(self) -> None:
        self._proxy.count(resets=1)
        self.reset()

    def _finish(self) -> None:
        self._stop_timers()
        self.task.cancel()

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
