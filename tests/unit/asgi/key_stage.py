"""A store of keys in memory, and a shop behind a door whose orders have keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from asgi_stage import Client, House, answers, ledger, reads

from holdfast.asgi.keys import KeyRules, Keys
from holdfast.context import REQUEST
from holdfast.databases.markers import Row, Written
from holdfast.events import Bus
from holdfast.faults.verdicts import LOST

KEY = (b"idempotency-key", b"k-1")


class LostError(ConnectionResetError):
    """The store's database has gone."""


class BusyError(Exception):
    """The store's database has no time; nothing is wrong with the store."""


class Memory:
    """Keeps rows as the table would: the first answer stays, and only its own fingerprint may give it."""

    def __init__(self) -> None:
        self.usable, self.off = False, False
        self.rows: dict[str, Row] = {}
        self.fails: list[Exception] = []  # raised by the next looks and keeps
        self.looked: list[list[str]] = []
        self.kept: list[list[str]] = []
        self.prepared = 0
        self.afresh = 0
        self.elsewhere: dict[str, Row] = {}  # what only the server knows to which a fresh connection leads
        self.causes: list[str] = []
        self.closed = False
        self.held: asyncio.Event | None = None  # a look waits for it

    async def prepare(self) -> bool:
        self.prepared += 1
        self.usable = not self.off
        return self.usable

    async def look(self, keys: list[str]) -> dict[str, Row]:
        self.looked.append(keys)
        if self.held is not None:
            await self.held.wait()
        self._fail()
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def keep(self, answers: list[Written]) -> None:
        self.kept.append([one.key for one in answers])
        self._fail()
        for one in answers:
            row = self.rows.get(one.key)
            if row is None or (row.answer is None and row.fingerprint == one.fingerprint):
                self.rows[one.key] = Row(one.fingerprint, 0.0, one.answer)

    def ask_afresh(self) -> None:
        self.afresh += 1
        self.rows.update(self.elsewhere)

    async def close(self) -> None:
        self.closed = True

    def turn_off(self, cause: str) -> None:
        self.off, self.usable = True, False
        self.causes.append(cause)

    def spoilt_by(self, error: Exception) -> bool:
        return not isinstance(error, LostError | BusyError)

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    def mark(self, key: str, fingerprint: str, age_s: float = 0.0) -> None:
        """What a transaction that committed has left."""
        self.rows[key] = Row(fingerprint, age_s, None)


class Shop:
    """Each order it takes is an effect; it marks them as the hooks of a database would."""

    def __init__(self) -> None:
        self.effects: list[bytes] = []
        self.runs = 0
        self.statuses: list[int] = []  # of the next answers, 201 by default
        self.body = b"ordered"
        self.held: asyncio.Event | None = None
        self.store: Memory
        self.house: House

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        body = await reads(receive)
        if self.held is not None:
            await self.held.wait()
        status = self.statuses.pop(0) if self.statuses else 201
        ledger().databases.add("main")
        if status < 400:
            self._commits(body)
        await answers(send, status, self.body)

    def _commits(self, body: bytes) -> None:
        request = REQUEST.get()
        marker = None if request is None else request.marker
        if marker is not None and not self.store.off:
            number = marker.take()
            marker.database = "main"
            if (marker.key, number) in [(key, 0) for key in self.store.rows | self.store.elsewhere]:
                marker.existed = True
                ledger().fault, ledger().error = LOST, RuntimeError("applied before")
                raise RuntimeError("applied before")
            self.store.mark(marker.key, marker.fingerprint)
        self.effects.append(body)


def shop(clock: Any, **rules: Any) -> Shop:
    """A shop behind a door, with a store that is there."""
    app = Shop()
    app.house = house = House(app, clock)
    app.store = store = Memory()
    store.usable = True
    house.main.markers = store
    bus = Bus()
    bus.subscribe(house.told.append)
    house.replay.keys = Keys(house.registry, KeyRules(**rules), bus)
    return app


def order(
    app: Shop, body: bytes = b"tea", headers: Iterable[tuple[bytes, bytes]] = (KEY,), path: str = "/orders"
) -> asyncio.Task[Client]:
    """One order beside."""
    return app.house.asks("POST", path, headers=headers, client=Client(body))
