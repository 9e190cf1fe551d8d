"""Asking a database what is kept under keys: many at once, and again while it has no time to say.

it answers                              everyone is told
it is lost, or the question is refused  everyone is told why
it is full, or the like (`passes`)      who is patient asks again after a pause, which grows; others are
                                        told at once, and come back as patient as they may be
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from holdfast.databases.database import Database, MarkerStore
from holdfast.databases.looking import shed
from holdfast.databases.markers import Row
from holdfast.faults.category import Fault
from holdfast.faults.classify import classify
from holdfast.policy.backoff import Backoff, Jitter

Preparing = Callable[[MarkerStore], Coroutine[Any, Any, bool]]

_AGAIN = Backoff(first=0.02, cap=0.5, jitter=Jitter.NONE)
# Behind a pooler of transactions: what one of its connections had prepared is asked of another, or a
# name is taken there by somebody else's statement. A fresh session of ours does away with either.
_POOLERS = frozenset({"26000", "42P05"})
_FULL = "53300"
_DICE = random.Random()


class DatabaseBusyError(Exception):
    """The database is there and has no time to say what is kept: *fault* passes when it is asked again."""

    def __init__(self, database: Database, fault: Fault) -> None:
        super().__init__(database.name)
        self.database = database
        self.fault = fault


class Questions:
    """Asks a store about keys: those that come while it is asked go together, in the next question.

    One that the database had no time for is put again after a pause, by all who are patient together:
    however many wait, a server that is full has one login at a time to refuse.
    """

    __slots__ = ("_busy", "_database", "_missed", "_pause", "_prepare", "_task", "_waiting", "store")

    def __init__(self, database: Database, store: MarkerStore, prepare: Preparing) -> None:
        self.store = store
        self._database = database
        self._prepare = prepare
        self._waiting: dict[str, asyncio.Future[Row | None]] = {}
        self._task: asyncio.Task[None] | None = None
        self._missed = 0  # questions in a row that it had no time for
        self._busy: Fault | None = None  # what the latest of them met
        self._pause: asyncio.Task[None] | None = None  # after it

    async def about(self, key: str, *, patient: bool) -> Row | None:
        """What is kept under *key*; None as well where the store is not to be had.

        Raises what the driver raises, and DatabaseBusyError, unless *patient*, for what passes.
        """
        while True:
            pause, busy = self._pause, self._busy
            if pause is None or busy is None or pause.done():
                try:
                    return await self._once(key)
                except DatabaseBusyError:
                    if not patient:
                        raise
            elif patient:
                await asyncio.shield(pause)
            else:
                raise DatabaseBusyError(self._database, busy)

    async def _once(self, key: str) -> Row | None:
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = apart(self._ask())
        return await asyncio.shield(answer)

    async def _ask(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whoever comes in the same turn goes along
            waiting, self._waiting = self._waiting, {}
            try:
                rows = await self._told(list(waiting))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                fault = classify(error, database=True)
                if passes(fault):
                    self._rest(fault)
                    futures = [*waiting.values(), *self._waiting.values()]  # who came meanwhile, too
                    self._waiting = {}
                    for future in futures:
                        _fail(future, DatabaseBusyError(self._database, fault))
                else:
                    for future in waiting.values():
                        _fail(future, error)
            else:
                self._missed, self._busy = 0, None
                for key, future in waiting.items():
                    future.set_result(rows.get(key))

    async def _told(self, keys: list[str]) -> dict[str, Row]:
        there = self.store.usable or await self._prepare(self.store)
        return await self.store.look(keys) if there else {}

    def _rest(self, fault: Fault) -> None:
        self._missed, self._busy = self._missed + 1, fault
        if fault.code == _FULL:
            shed(self._database)  # else the pool might hold the last ones for ever
        self._pause = apart(asyncio.sleep(pause_after(self._missed)))


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # looked at: whoever asked may have left


def passes(fault: Fault) -> bool:
    """Whether the same question to a database that is there may be answered in a moment."""
    return not fault.lost and (fault.transient or fault.code in _POOLERS)


def pause_after(missed: int) -> float:
    """Seconds until it is asked again, so that several processes do not come back together."""
    return _AGAIN.plain(missed) * _DICE.uniform(0.75, 1.0)


def apart(coroutine: Any) -> asyncio.Task[None]:
    """A task for no request: what it does is charged to nobody."""
    return asyncio.get_running_loop().create_task(coroutine, context=Context())
