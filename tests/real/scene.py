"""A stage for one fault: a server, a proxy before it, a shop behind holdfast, load on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from running import Running, Shop, running

from holdfast.drill.postgresql import Mode, PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.drill.servers import real_server
from load import Load, Record, Shape, Verdict, judge, tally


@dataclass(slots=True)
class Scene:
    """All that a test of a fault touches; moments are monotonic seconds."""

    server: PostgreSQL
    proxy: Proxy
    running: Running
    load: Load
    began_at: float = 0.0
    ended_at: float = 0.0
    rows: list[str] = field(default_factory=list)

    async def restart(self, absent: float, mode: Mode = "immediate") -> None:
        """Stop the server and start it *absent* seconds later; returns when it accepts connections."""
        self.began_at = time.monotonic()
        await asyncio.to_thread(self.server.stop, mode)
        await asyncio.sleep(absent)
        await asyncio.to_thread(self.server.start)
        self.ended_at = time.monotonic()

    async def during(self, seconds: float) -> None:
        """Let the fault that was just begun last for *seconds*, then heal the proxy."""
        self.began_at = time.monotonic()
        await asyncio.sleep(seconds)
        self.proxy.heal()
        self.ended_at = time.monotonic()

    @property
    def records(self) -> list[Record]:
        return self.load.records

    def verdict(self) -> Verdict:
        return judge(self.records, self.rows)

    def sent_between(self, start: float, end: float) -> list[Record]:
        return [one for one in self.records if start <= one.sent_at < end]

    def told(self) -> str:
        """The message of a failed claim: what came back, and the first that did not go well."""
        bad = [one for one in self.records if not one.ok]
        moments = [f"  {one.sent_at - self.began_at:+.2f} s: {one}" for one in bad[:40]]
        return "\n".join([tally(self.records), str(self.verdict()), *moments, self.running.output[-4000:]])


@asynccontextmanager
async def scene(
    shop: Shop,
    shape: Shape | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    direct: bool = False,
    bare: bool = False,
) -> AsyncIterator[Scene]:
    """A scene with load already running for a second; leaving it waits for all answers.

    The shop reaches its database through the proxy unless *direct*. The rows of the orders table
    are in `rows` afterwards.
    """
    with real_server("postgresql") as server, server.proxied() as proxy:
        port = None if direct else proxy.port
        wanted = {**shop.environment(server, port), **(environment or {})}
        with running(shop, wanted, bare=bare) as one:
            async with Load(one.url, shape or Shape()) as load:
                stage = Scene(server, proxy, one, load)
                await asyncio.sleep(1)
                yield stage
            found = await asyncio.to_thread(server.execute, "SELECT reference FROM orders")
            stage.rows = [reference for (reference,) in found]
            status = one.process.poll()
            assert status is None, f"the shop ended with {status}, it printed:\n{one.output[-4000:]}"
