"""A door with one database, and the requests that come to it."""

from __future__ import annotations

import asyncio
from typing import Any

from asgi_stage import Client, Pool, ServerClock, away, back, turns

from holdfast.asgi.body import Body
from holdfast.asgi.door import Door, Rules
from holdfast.asgi.line import Verdict
from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.events import Bus, Event


class Lobby:
    """A door with one database, and the requests that come to it."""

    def __init__(self, clock: ServerClock, rules: Rules | None = None, pool: int = 5) -> None:
        self.clock = clock
        self.database = Database("main", "db:5432", Pool(pool), clock)
        self.reports: list[object] = []
        self.told: list[Event] = []
        bus = Bus()
        bus.subscribe(self.told.append)
        self.door = Door(rules or Rules(), lambda _, happening: self.reports.append(happening), bus)
        self.door.open_for([self.database], asyncio.get_running_loop())
        self.went: list[str] = []
        self.clients: dict[str, Client] = {}

    async def lose(self) -> None:
        away(self.database)
        await turns()

    async def recover(self) -> None:
        back(self.database)
        await turns()

    def request(
        self,
        name: str,
        arrived_at: float | None = None,
        deadline: float = 30.0,
        patience: float | None = None,
    ) -> Request:
        at = self.clock.now if arrived_at is None else arrived_at
        request = Request(name, "GET", "/items", at, at + deadline)
        request.patience_s = patience
        return request

    def comes(self, name: str, *, entered: bool = False, **about: Any) -> asyncio.Task[Verdict]:
        request = self.request(name, **about)
        client = self.clients[name] = Client()
        body = Body(request, client.receive, 1000)

        async def wait() -> Verdict:
            verdict = await self.door.wait(self.database, request, body, entered=entered)
            if verdict is Verdict.GO:
                self.went.append(name)
            return verdict

        return asyncio.ensure_future(wait())

    async def come(self, count: int) -> list[asyncio.Task[Verdict]]:
        waiting = [self.comes(str(number)) for number in range(count)]
        await turns()
        return waiting

    def answer(self, count: int = 1, *, busy: float = 0.0, waits: int = 0) -> None:
        """So many have been answered, 10 ms each, of which the process computed a share, and its threads
        waited so often for each."""
        for _ in range(count):
            self.clock.now += 0.01
            self.clock.computed += 0.01 * busy
            self.clock.waited += waits
            self.door.went(self.database, answered=True)

    @property
    def queue(self) -> Any:
        return self.door._lines["main"]

    def assert_empty(self) -> None:
        assert (self.door.waiting, self.door.waiting_inside) == (0, 0)
        assert not len(self.queue)
        assert self.queue.going == len(self.went)
