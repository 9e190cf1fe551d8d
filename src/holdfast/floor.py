"""What a stop may do to requests and their databases."""

from __future__ import annotations

import asyncio
from time import monotonic

from holdfast.app import Holdfast
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.front import Front
from holdfast.databases.database import Database
from holdfast.databases.looking import quiet

STALLED_S = 1.0  # who waits for a body gets so long for the next byte of it
QUIET_S = 0.3  # a WebSocket whose time is over waits no longer for a database that says nothing
TOLD_S = 0.1  # by then it has been told that its connection has ended
MARGIN_S = 0.25  # the watch finds a database suspect, and knocks: one that lives has answered by then


class Floor:
    """The `Stage` of `runtime/stop.py`, over one front."""

    def __init__(self, hold: Holdfast, front: Front) -> None:
        self._hold = hold
        self._front = front
        self._silent_after = hold.settings.suspect_after_s + MARGIN_S
        self._silent: dict[Database, float] = {}  # when those had last been heard that say nothing
        self._stalled: dict[Exchange, tuple[int, float]] = {}  # what there is of their bodies, and since when

    def drain(self) -> None:
        self._hold.vital.draining = True

    def tell_streams(self) -> None:
        for exchange in list(self._front.stage().replay.live):
            if exchange.request.started:
                exchange.body.hang_up()

    def answer_held(self) -> None:
        self._front.stage().door.close()
        if self._front.opened is not None:
            self._front.opened.set()
        for database in self._hold.registry:
            database.dismiss()
            if database.away:
                database.end_waits()
            else:
                self._end_unanswered(database)
        self._end_stalled()

    def _end_unanswered(self, database: Database) -> None:
        """End what those wait for who can be run again elsewhere, once *database* has been silent while
        somebody waited, and until it is heard. It may take the watch another second to be sure."""
        known = database.known_at()
        if quiet(database, monotonic(), self._silent_after):
            self._silent[database] = known
        elif self._silent.get(database) != known:
            return
        for link in list(database.links.values()):
            waits = link.began or not link.out  # an idle one would be closed politely, for seconds
            if waits and not (link.committing or link.cut) and link.may_be_cut():
                link.abort()
        for opening in list(database.connecting.values()):
            opening.end()

    def _end_stalled(self) -> None:
        """Cancel those who wait for a body of which nothing comes any more: they are told 503."""
        replay, now = self._front.stage().replay, monotonic()
        seen, self._stalled = self._stalled, {}
        for exchange in list(replay.live):
            size = exchange.body.awaited_at
            if size is None or exchange.request.started:
                continue
            before, since = seen.get(exchange, (-1, now))
            self._stalled[exchange] = (size, since if size == before else now)
            if size == before and now - since > STALLED_S and exchange.task is not None:
                replay.door.cutting = True
                exchange.task.cancel()

    def end_sockets(self) -> None:
        """Cancel what serves WebSockets. Connections on which nothing comes are ended first: a driver
        that is cancelled there says goodbye to its server, for seconds."""
        now = monotonic()
        for database in self._hold.registry:
            if not quiet(database, now, QUIET_S):
                continue
            for link in list(database.links.values()):
                theirs = link.request is not None and link.request.kind == "websocket"
                if theirs and link.began and not (link.committing or link.cut):
                    link.abort()
        loop = asyncio.get_running_loop()
        for task in self.sockets():
            loop.call_later(TOLD_S, task.cancel)

    def lock(self) -> None:
        self._front.stage().door.lock()

    def sockets(self) -> set[asyncio.Task[None]]:
        return set(self._hold.sockets)

    def cut(self) -> None:
        self._front.stage().door.cutting = True
        for database in self._hold.registry:
            database.end_waits()

    def named(self) -> list[str]:
        return [*self._front.in_flight(), *(f"WebSocket {task.get_name()}" for task in self._hold.sockets)]
