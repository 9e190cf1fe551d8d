"""A journal behind requests without a network: what is written down, shown and run."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from typing import Any

from asgi_stage import Client

from holdfast.asgi.body import Body
from holdfast.asgi.context import request_of
from holdfast.asgi.cors import Cors
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.journaling import Accepted, Journaling, Rules
from holdfast.asgi.operations import Operations
from holdfast.asgi.types import Scope
from holdfast.events import Bus, Event
from holdfast.policy.routes import Routes
from holdfast.work.entry import Entry, New, State


class OneJournal:
    """As much of a journal as requests need: it accepts and finds."""

    place = "memory"

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.dropped: list[int] = []
        self.fails: Exception | None = None
        self.silent: list[Future[int]] | None = None

    def accept(self, new: New) -> Future[int]:
        future: Future[int] = Future()
        if self.silent is not None:
            self.silent.append(future)
        elif self.fails is not None:
            future.set_exception(self.fails)
        else:
            number = len(self.entries) + 1
            self.entries[new.name] = Entry(number, new)
            future.set_result(number)
        return future

    def find(self, name: str) -> Future[Entry | None]:
        future: Future[Entry | None] = Future()
        if self.fails is not None:
            future.set_exception(self.fails)
        else:
            future.set_result(self.entries.get(name))
        return future

    def drop(self, number: int) -> Future[bool]:
        self.dropped.append(number)
        future: Future[bool] = Future()
        future.set_result(True)
        return future

    def becomes(self, state: State, **changes: Any) -> None:
        """The one entry it has gets *state*."""
        from dataclasses import replace

        ((name, entry),) = self.entries.items()
        self.entries[name] = replace(entry, state=state, **changes)


async def nothing(scope: Scope, receive: Any, send: Any) -> None:
    raise AssertionError("the application is not to be asked")


class _Counted:
    def served(self, method: str, status: int) -> None: ...


class _Replay:
    metrics = _Counted()


class JournalHouse:
    """Requests of `POST /orders` are written down."""

    def __init__(self, rules: Rules | None = None, client_url: str | None = None) -> None:
        self.journal: Any = OneJournal()
        self.told: list[Event] = []
        self.woken = 0
        bus = Bus()
        bus.subscribe(self.told.append)
        cors = Cors(nothing, client_url)
        self.journaling = Journaling(
            self.journal, Routes(["POST /orders"]), rules or Rules(), cors, bus, wake=self._wake
        )
        self.operations = Operations(self.journal, cors)

    async def accept(
        self, scope: Scope, client: Client, key: str | None = None, bound: int = 65536
    ) -> tuple[Any, Exchange]:
        request = request_of(scope, 30.0)
        body = Body(request, client.receive, bound)
        exchange = Exchange(_Replay(), scope, body, client.send, request)  # type: ignore[arg-type]
        return await self.journaling.accept(scope, request, body, key), exchange

    async def sent(self, scope: Scope, *parts: bytes, where: str = "/operations/") -> tuple[Accepted, Client]:
        """A request that is written down, and the client that has got its 202."""
        client = Client(*parts)
        accepted, exchange = await self.accept(scope, client)
        assert isinstance(accepted, Accepted)
        await self.journaling.answer(exchange, accepted, where)
        return accepted, client

    async def shown(self, id: str, method: str = "GET") -> Client:  # noqa: A002
        client = Client()
        scope = order_scope(method, f"/operations/{id}")
        await self.operations.show(id, scope, client.send)
        return client

    @property
    def one(self) -> New:
        (entry,) = self.journal.entries.values()
        new: New = entry.new
        return new

    def _wake(self) -> None:
        self.woken += 1


def order_scope(method: str = "POST", path: str = "/orders", **changes: Any) -> Scope:
    """The scope of an order, as a server makes it."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json")],
        "client": ("10.0.0.9", 4242),
        "server": ("shop.example", 443),
        **changes,
    }


def told_by(client: Client) -> Any:
    return json.loads(client.body)


async def ticks(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
