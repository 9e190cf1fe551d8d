"""The stage of a crash test: a PostgreSQL, the proxy before it, a shop under `holdfast run`, its disk.

All of them can be killed, and come back; they live on from round to round. The shop is watched
as a service manager would: when it ends by itself it is started again. A start that its database
or its disk does not let through may end so; a shop that was ready may not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from disk import Disk
from running import SHOPS, Shop
from schedule import Kind, Planned
from wire import arm

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.drill.servers import real_server
from holdfast.drill.toxics import Latency

WELL_WITHIN = 30.0
_WATCH_EACH = 0.05
_RESTART_AFTER = 0.25  # when it ended by itself
_SLOW = Latency(latency=5, jitter=4)
_READY = b"ready: http"
_FOREIGN = ("HOLDFAST_", "POSTGRES_", "DATABASE_", "DB_", "APP_ENV", "PORT", "HOST", "LOG_")
_JOURNAL = {"HOLDFAST_JOURNAL": "POST /orders", "HOLDFAST_JOURNAL_AFTER_MS": "300"}


@dataclass(frozen=True, slots=True)
class Plot:
    """What is played: a shop, with a journal or without."""

    shop: Shop
    journal: bool

    @property
    def name(self) -> str:
        return f"{self.shop.name}+journal" if self.journal else self.shop.name


@dataclass(slots=True)
class Tally:
    """What was done since the curtain rose."""

    shop_kills: int = 0
    database_kills: int = 0
    silences: int = 0
    stalls: int = 0
    disk_fills: int = 0
    failed_starts: int = 0  # ended by itself before it was ready

    def __str__(self) -> str:
        return (
            f"{self.shop_kills} kills of holdfast, {self.database_kills} of postgresql, "
            f"{self.silences} silences, {self.stalls} stalls, "
            f"{self.disk_fills} full disks, {self.failed_starts} failed starts"
        )


@dataclass(frozen=True, slots=True)
class Life:
    """The shop from one start to one end."""

    process: subprocess.Popen[bytes]
    log: Path
    afterlife: Afterlife

    def printed(self, most: int) -> str:
        """The end of what it printed, at most *most* bytes."""
        return self.log.read_bytes()[-most:].decode(errors="replace")

    @property
    def ready(self) -> bool:
        """Whether it has said that it is."""
        return _READY in self.log.read_bytes()

    def end(self) -> None:
        """SIGKILL, and wait for the end; one that has ended is fine."""
        self.process.kill()
        self.process.wait()
        self.afterlife.farewell()


@dataclass(slots=True)
class Stage:
    """What can be hurt, and how; its owner is `stage`."""

    plot: Plot
    server: PostgreSQL
    proxy: Proxy
    disk: Disk
    folder: Path
    port: int
    began_at: float = 0.0
    events: list[str] = field(default_factory=list)
    own_ends: list[str] = field(default_factory=list)  # exits of a ready shop that nobody asked for
    tally: Tally = field(default_factory=Tally)
    lives: list[Life] = field(default_factory=list)
    _database: asyncio.Lock = field(default_factory=asyncio.Lock)
    _shop: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """The end of what the last lives of the shop printed."""
        ends = [f"── process {life.process.pid} printed:\n{life.printed(6000)}" for life in self.lives]
        return "\n".join(ends)

    def open_round(self) -> None:
        """Forget what happened in the round before."""
        self.began_at = time.monotonic()
        self.events.clear()
        self.own_ends.clear()

    def note(self, what: str) -> None:
        """Write an event down, with its moment."""
        self.events.append(f"{time.monotonic() - self.began_at:.3f} s {what}")

    # ── faults ───────────────────────────────────────────────────────────────────────────────

    async def inflict(self, planned: Planned) -> None:
        """Wait for the fault's moment, do it, and end it when it lasts."""
        await asyncio.sleep(max(0.0, self.began_at + planned.at - time.monotonic()))
        match planned.kind:
            case Kind.KILL_SHOP:
                await self.kill_shop()
            case Kind.KILL_DATABASE:
                await self.kill_database(planned.lasts)
            case Kind.KILL_BOTH:
                await asyncio.gather(self.kill_database(planned.lasts), self.kill_shop())
            case Kind.CUT:
                self.note(f"armed: {planned}")
                arm(self.proxy, planned.moment, planned.times, planned.delay)
            case Kind.SILENCE:
                await self._path(self.proxy.black_hole, "silence", planned.lasts)
                self.tally.silences += 1
            case Kind.STALL:
                await self._path(self.proxy.stall, "stall", planned.lasts)
                self.tally.stalls += 1
            case Kind.SLOW:
                await self._path(lambda: self.proxy.add(_SLOW), "slowness", planned.lasts)
            case Kind.FILL_DISK:
                await self._fill_disk(planned.lasts)
            case Kind.KILL_DRAIN:
                await self._kill_drain(planned.lasts, planned.delay)

    async def kill_shop(self) -> None:
        """SIGKILL, and start again at once on the same port."""
        async with self._shop:
            await asyncio.to_thread(self.lives[-1].end)
            self.tally.shop_kills += 1
            self.note("holdfast killed")
            self.start_shop()

    async def kill_database(self, absent: float) -> None:
        """SIGKILL of every process of the server, which comes back *absent* seconds later."""
        async with self._database:
            await asyncio.to_thread(self.server.kill)
            self.tally.database_kills += 1
            self.note("postgresql killed")
            await asyncio.sleep(absent)
            await asyncio.to_thread(self.server.start)
            self.note("postgresql accepts connections")

    async def _kill_drain(self, absent: float, delay: float) -> None:
        """Let the journal fill, and kill its worker *delay* seconds after it may begin; then once more."""
        await self.kill_database(absent)
        await asyncio.sleep(delay)
        await self.kill_shop()
        while not self.lives[-1].ready:
            await asyncio.sleep(_WATCH_EACH)
        await asyncio.sleep(delay)
        await self.kill_shop()

    async def _path(self, begin: Callable[[], None], name: str, lasts: float) -> None:
        begin()
        self.note(f"{name} begins")
        await asyncio.sleep(lasts)
        self.proxy.heal()
        self.note(f"{name} ends")

    async def _fill_disk(self, lasts: float) -> None:
        await asyncio.to_thread(self.disk.fill, self.lives[-1].process.pid)
        self.tally.disk_fills += 1
        self.note("disk full")
        await asyncio.sleep(lasts)
        self.disk.free()
        self.note("disk has room")

    # ── the shop's process ───────────────────────────────────────────────────────────────────

    def start_shop(self) -> None:
        """Start the shop; what it prints goes to a file of this life."""
        while len(self.lives) > 2:
            self.lives.pop(0).log.unlink()
        log = self.folder / f"life-{time.monotonic_ns()}"
        command = [str(Path(sys.executable).parent / "holdfast"), "run", self.plot.shop.target]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--app-dir", str(SHOPS), "--port", str(self.port)],
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        self.lives.append(Life(process, log, Afterlife('kill -s KILL -- "-$1"', str(process.pid))))

    async def watch(self) -> None:
        """Start the shop again whenever it ends by itself; forgiven before it was ready."""
        while True:
            await asyncio.sleep(_WATCH_EACH)
            async with self._shop:
                status = self.lives[-1].process.poll()
                if status is None:
                    continue
                self.note(f"holdfast ended by itself with {status}")
                self.tally.failed_starts += not self.lives[-1].ready
                if self.lives[-1].ready:
                    self.own_ends.append(f"status {status}, it printed:\n{self.lives[-1].printed(3000)}")
                await asyncio.sleep(_RESTART_AFTER)
                self.lives[-1].end()
                self.start_shop()

    def _environment(self) -> dict[str, str]:
        mine = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        holdfast = {
            "HOLDFAST_START_WITHOUT_DATABASE": "true",
            "HOLDFAST_STATE_DIR": str(self.disk.state),
            **(_JOURNAL if self.plot.journal else {}),
        }
        return {**mine, **self.plot.shop.environment(self.server, self.proxy.port), **holdfast}

    # ── well again ───────────────────────────────────────────────────────────────────────────

    async def well(self, session: aiohttp.ClientSession) -> bool:
        """End every fault and wait until the shop is ready and serves; False past 30 s."""
        self.disk.free()
        self.proxy.heal()
        give_up_at = time.monotonic() + WELL_WITHIN
        while time.monotonic() < give_up_at:
            if await _status(session, "/_holdfast/api/health") == await _status(session, "/items/1") == 200:
                self.note("all is well")
                return True
            await asyncio.sleep(0.1)
        return False


async def _status(session: aiohttp.ClientSession, path: str) -> int:
    """The status of one GET, 0 for no answer."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with session.get(path) as answer:
            await answer.read()
            return answer.status
    return 0


@asynccontextmanager
async def stage(plot: Plot) -> AsyncIterator[Stage]:
    """Everything running and well; all of it is ended and removed afterwards."""
    with (
        real_server("postgresql") as server,
        server.proxied() as proxy,
        Disk() as disk,
        tempfile.TemporaryDirectory(prefix="holdfast-crash-") as folder,
    ):
        one = Stage(plot, server, proxy, disk, Path(folder), quiet_port())
        afterlife = Afterlife('rm -rf "$1"', folder)
        one.start_shop()
        watching = asyncio.create_task(one.watch())
        try:
            async with aiohttp.ClientSession(one.url) as session:
                assert await one.well(session), f"the shop did not start:\n{one.output}"
            yield one
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            one.lives[-1].end()
            afterlife.farewell()
