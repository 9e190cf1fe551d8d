"""A stage for journals: a database that goes away, `holdfast run` before it, and clients that ask later."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from running import SHOPS, Running, Shop, _clean_environment

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy

JOURNAL_SHOP = Shop("journal", "journal_shop:app", "asyncpg")
HOLDFAST = str(Path(sys.executable).parent / "holdfast")
AFTER_MS = "300"
WITHIN = 30.0


@dataclass(slots=True)
class Sent:
    """A request that was sent, and what came back."""

    reference: str
    sent_at: float
    done_at: float = 0.0
    status: int = 0
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    client: tuple[str, int] = ("", 0)  # our end

    @property
    def operation(self) -> str:
        """Where to ask for it."""
        assert self.status == 202, self
        return self.headers["location"]


class House:
    """One journal folder and one database; processes of holdfast come and go."""

    def __init__(
        self, server: PostgreSQL, proxy: Proxy, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.server, self.proxy, self.folder = server, proxy, folder
        self.state = folder / "state"
        self.runs = folder / "runs"
        self.environment = {
            **_clean_environment(),
            "HOLDFAST_STATE_DIR": str(self.state),
            "HOLDFAST_JOURNAL_AFTER_MS": AFTER_MS,
            "RUNS": str(self.runs),
            **environment,
        }
        self._processes: list[tuple[subprocess.Popen[bytes], Afterlife]] = []

    def start(
        self,
        shop: Shop = JOURNAL_SHOP,
        environment: Mapping[str, str] | None = None,
        *,
        ready: bool = True,
        app_dir: Path = SHOPS,
        before: Sequence[str] = (),
        **popen: Any,
    ) -> Running:
        """`holdfast run` of *shop*; with *ready* it serves. *before* stands before the command."""
        port = quiet_port()
        log = self.folder / f"output-{port}"
        options = ["--app-dir", str(app_dir), "--port", str(port), *(["--factory"] if shop.factory else [])]
        wanted = {**self.environment, **shop.environment(self.server, self.proxy.port), **(environment or {})}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*before, HOLDFAST, "run", shop.target, *options],
                env=wanted,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                **popen,
            )
        self._processes.append((process, Afterlife('kill -s KILL -- "-$1"', str(process.pid))))
        one = Running(process, port, log)
        if ready:
            one.await_ready()
        return one

    def refused(self, environment: Mapping[str, str] | None = None, **how: Any) -> tuple[int, str]:
        """A start that does not succeed: its exit status, and what it printed."""
        one = self.start(environment=environment, ready=False, **how)
        return one.process.wait(WITHIN), one.output

    def journal(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """`holdfast journal`, which has to succeed; what it printed on standard output."""
        done = subprocess.run(
            [HOLDFAST, "journal", *words],
            env={**self.environment, **(environment or {})},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The database is away: connects are refused, connections reset."""
        self.proxy.refuse()
        try:
            yield
        finally:
            self.proxy.heal()

    def times(self, table: str = "taken") -> Counter[str]:
        """How often each reference is there."""
        return Counter(one for (one,) in self.server.execute(f"SELECT reference FROM {table}"))

    def close(self) -> None:
        """End what still runs."""
        for process, afterlife in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            afterlife.farewell()


@contextlib.contextmanager
def house(server: PostgreSQL, environment: Mapping[str, str] | None = None) -> Iterator[House]:
    """A house with an empty journal; its processes are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder, server.proxied() as proxy:
        one = House(server, proxy, Path(folder), environment or {})
        try:
            yield one
        finally:
            one.close()


def kill(one: Running) -> None:
    """SIGKILL it, and wait until it is gone."""
    os.killpg(one.process.pid, signal.SIGKILL)
    one.process.wait()


def until(what: Callable[[], Any], told: Callable[[], object] = lambda: "", within: float = WITHIN) -> Any:
    """What *what* gives as soon as that is true of it; fails with *told* when that takes too long."""
    give_up_at = time.monotonic() + within
    while not (found := what()):
        assert time.monotonic() < give_up_at, told()
        time.sleep(0.02)
    return found


# ---- one request -----------------------------------------------------------------------------------


def ask(
    one: Running,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> Sent:
    """Send exactly these headers, but for `Host` and the body's length, and wait for the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=WITHIN)
    sent = Sent(target, time.monotonic())
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        sent.client = connection.sock.getsockname()
        answer = connection.getresponse()
        text = answer.read()
        sent.status, sent.headers = answer.status, _lower(answer.getheaders())
        if sent.headers.get("content-encoding") == "gzip":
            text = gzip.decompress(text)
        sent.body = json.loads(text) if text and "json" in sent.headers.get("content-type", "") else text
    finally:
        connection.close()
    return sent


def _lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


def postpone(stage: House, one: Running, *asked: Any) -> Sent:
    """`ask` while the database is away, for no longer than the 202 takes."""
    with stage.away():
        sent = ask(one, *asked)
    assert sent.status == 202, f"{sent}\n{one.output[-3000:]}"
    return sent


def operation(one: Running, sent: Sent) -> dict[str, Any]:
    """What its client is told of *sent* now."""
    answer = ask(one, "GET", sent.operation)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.body
    return found


def outcome(one: Running, sent: Sent) -> dict[str, Any]:
    """What its client is told of *sent* once it is over."""

    def over() -> dict[str, Any] | None:
        found = operation(one, sent)
        return found if found["status"] in ("done", "failed", "dead") else None

    result: dict[str, Any] = until(over, lambda: f"{operation(one, sent)}\n{one.output[-3000:]}")
    return result


# ---- many ------------------------------------------------------------------------------------------


class Burst:
    """Orders at a steady rate, whatever the answers, while the `async with` block runs."""

    def __init__(
        self, one: Running, rate: float = 50.0, *, path: str = "/orders", keyed: bool = True
    ) -> None:
        self.sent: list[Sent] = []
        self._one, self._rate, self._path, self._keyed = one, rate, path, keyed
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Burst:
        timeout = aiohttp.ClientTimeout(total=WITHIN)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        self._session = aiohttp.ClientSession(self._one.url, timeout=timeout, connector=connector)
        self._arriving = asyncio.create_task(self._arrive())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._arriving.cancel()
        await asyncio.wait([self._arriving])
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._session.close()
        for task in self._tasks:
            task.result()

    async def some(self, count: int, status: int = 202) -> None:
        """Return once so many have been answered with *status*."""
        give_up_at = time.monotonic() + WITHIN
        while sum(one.status == status for one in self.sent) < count:
            assert time.monotonic() < give_up_at, Counter(one.status for one in self.sent)
            await asyncio.sleep(0.01)

    async def _arrive(self) -> None:
        began = time.monotonic()
        while True:
            due = began + len(self.sent) / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.sent.append(Sent(f"order-{uuid.uuid4().hex}", time.monotonic()))
            self._tasks.append(asyncio.create_task(self._send(self.sent[-1])))

    async def _send(self, sent: Sent) -> None:
        headers = {"Idempotency-Key": f"key-{sent.reference}"} if self._keyed else {}
        path = self._path.format(reference=sent.reference)
        body = {"reference": sent.reference, "item_id": 1}
        try:
            async with self._session.post(path, json=body, headers=headers) as answer:
                sent.body = await answer.json(content_type=None)
                sent.status, sent.headers = answer.status, _lower(answer.headers.items())
                sent.done_at = time.monotonic()
        except (aiohttp.ClientError, OSError) as error:
            sent.body = repr(error)  # its status stays 0: no answer


async def pressed(one: Running, count: int, *, path: str = "/orders", keyed: bool = True) -> list[Sent]:
    """Orders sent until *count* were answered 202; all that were sent, in order."""
    async with Burst(one, 100.0, path=path, keyed=keyed) as burst:
        await burst.some(count)
    return burst.sent


def postponed(sent: Sequence[Sent]) -> list[Sent]:
    """Those that were answered 202, in order of sending."""
    return [one for one in sent if one.status == 202]
