"""Whether a request may enter the application at all: what is asked before its first attempt.

    the application shuts down             refused; what the journal runs ends before (`Holdfast.put_away`)
    its client left, the loop was away     dropped, where it may write (`absence.py`)
    it has a key that is in use, or bad    answered (`keyed.py`)
    a database that it needs is away       waits at the door
    its key has an answer                  given that

Each of them takes time. What was true before may not be so after it, so the first is asked last, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.asgi.exchange import Exchange
from holdfast.asgi.journal_run import SCOPE_KEY as RERUN

if TYPE_CHECKING:
    from holdfast.asgi.keyed import Keyed
    from holdfast.asgi.replay import Replay


class Entrance:
    """The part of *replay* that comes before the application."""

    __slots__ = ("_keyed", "_replay")

    def __init__(self, replay: Replay, keyed: Keyed) -> None:
        self._replay = replay
        self._keyed = keyed

    async def passes(self, exchange: Exchange) -> bool:
        """Past the key and the door; False when it has been answered, or dropped, instead."""
        door = self._replay.door
        if door.locked and await self._turned_away(exchange):
            return False
        if not exchange.request.safe:
            if self._replay.absence.lately() and await self._abandoned(exchange):
                return False
            if not await self._keyed.claims(exchange):
                return False
        if door.shut and not await self._admitted(exchange):
            return False
        if exchange.claim is not None and not await self._keyed.is_first(exchange):
            return False
        return not door.locked or not await self._turned_away(exchange)

    async def _turned_away(self, exchange: Exchange) -> bool:
        if RERUN in exchange.scope:
            return False
        await self._replay.refuse(exchange, "shutting_down")
        return True

    async def _abandoned(self, exchange: Exchange) -> bool:
        if not await exchange.body.has_left_unread():
            return False
        exchange.ended = True
        self._replay.tell.abandoned(exchange.request)
        return True

    async def _admitted(self, exchange: Exchange) -> bool:
        """Wait for what the route is known to need; whether it may enter."""
        request, replay = exchange.request, self._replay
        for name in replay.needs.of(request.method, request.path):
            database = replay.door.first_shut([name])
            if database is not None and not await replay.waited(exchange, database):
                return False
        return True
