"""A watch on a jumping clock, one database with a fake server, and what was told: a test's stage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fake_driver import FakeDriver, Mode

from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.databases.link import Link, Opening
from holdfast.databases.looking import Watchfulness
from holdfast.databases.watch import Watch
from holdfast.events import Bus, Event
from jumping import JumpingClock, run, until


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[Watch]:
    """*watch*, sweeping on the running loop instead of in a thread of its own."""
    watch._loop = asyncio.get_running_loop()
    sweeping = asyncio.ensure_future(watch._sweep())
    try:
        yield watch
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping
        watch._loop = None


@dataclass
class Stand:
    """A watch, one database, and what was told."""

    clock: JumpingClock = field(default_factory=JumpingClock)
    driver: FakeDriver = field(default_factory=FakeDriver)
    told: list[Event] = field(default_factory=list)
    rules: Watchfulness = field(default_factory=Watchfulness)

    def __post_init__(self) -> None:
        bus = Bus()
        bus.subscribe(self.told.append)
        self.database = Database("shop", "postgresql://db/shop", self.driver, self.clock)
        self.database.heard_at = self.clock.now  # so that no heartbeat is due
        self.watch = Watch(self.rules, bus=bus, clock=self.clock, dice=random.Random(1))
        self.watch.add(self.database)

    def play(self, scene: Callable[[Stand], Coroutine[Any, Any, None]]) -> None:
        async def playing() -> None:
            async with watching(self.watch):
                await scene(self)

        run(self.clock, playing())

    def sent(self, request: Request | None = None, *, blocks: bool = False) -> Link:
        """A connection on which something has just been sent."""
        link = Link(object(), self.database.generation, self.clock.now, lambda: None, None, blocks=blocks)
        link.began, link.request, link.out = self.clock.now, request, True
        self.database.links[id(link)] = link
        return link

    def heard(self, link: Link) -> None:
        """What was sent on *link* has been answered."""
        link.began, self.database.heard_at = 0.0, self.clock.now

    def names(self) -> list[str]:
        return [type(one).__name__ for one in self.told]

    async def lose(self) -> None:
        """The server goes away, a hook reports it, the watch makes sure."""
        self.driver.turn(Mode.REFUSES)
        self.database.broken("reset")
        await until(lambda: self.database.away)


def a_request(method: str = "GET") -> Request:
    """One that arrived long ago and may take for ever."""
    return Request("id", method, "/", arrived_at=0.0, deadline_at=1e9)


BACKEND = 4711  # number of the server's process behind what is `sent`


def sent(stand: Stand, request: Request | None = None) -> Link:
    """A connection on which something has just been sent, whose server can be asked about it."""
    link = stand.sent(request or a_request())
    link.backend = BACKEND
    return link


def opens(stand: Stand, ended: list[float], *, login: bool = True) -> None:
    """Somebody waits for a connection."""
    since, number = stand.clock.now, len(stand.database.connecting)

    def end() -> None:
        ended.append(stand.clock.now - since)
        del stand.database.connecting[number]

    stand.database.connecting[number] = Opening(since, end, login)
