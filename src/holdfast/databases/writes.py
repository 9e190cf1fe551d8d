"""A server that takes no writes for a while: when it does again, found out by one who asks.

A primary was demoted and its name does not lead to the next one yet, or its disk is nearly full and
whoever keeps it has made it read-only. It answers, and reads go on.

    a write is refused (25006)                  begins: one of ours asks, on a fresh login each time
    a fresh login says it takes writes          ends: connections of before are replaced as they come
                                                back, for they may lead to the old primary; who waited goes
    a fresh login says it does not, or fails    asked again, after 0.1 s doubling to 1 s
    refused a moment after the end, on a        the application's own: it began a transaction as
    connection that is younger than it          read-only, and waiting helps nothing
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from holdfast.clock import Clock, within
from holdfast.databases.database import Database, Session
from holdfast.databases.looking import Watchfulness, cut_idle
from holdfast.databases.post import Post
from holdfast.events import Bus, WritesRefused, WritesTaken

_FIRST_S, _MOST_S = 0.1, 1.0


class Writes:
    """Asks for one watch, on its loop. *open_* logs in within seconds."""

    def __init__(
        self,
        rules: Watchfulness,
        clock: Clock,
        bus: Bus,
        open_: Callable[[Database, float], Awaitable[Session]],
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._bus = bus
        self._open = open_

    async def until_taken(self, post: Post) -> None:
        """Ask until the database takes writes, and let everybody know."""
        database = post.database
        began = self._clock.monotonic()
        self._bus.publish(WritesRefused(database=database.name, target=database.target))
        pause = _FIRST_S
        while not await self._taken(post):
            await asyncio.sleep(pause)
            pause = min(_MOST_S, pause * 2)
        database.generation += 1
        cut_idle(database)
        database.writes_again(self._clock.monotonic())
        lasted = round(self._clock.monotonic() - began, 3)
        self._bus.publish(WritesTaken(database=database.name, target=database.target, refused_s=lasted))

    async def _taken(self, post: Post) -> bool:
        database = post.database
        if not database.settled:
            return False  # whether it is there at all, others find out
        try:
            session = await self._open(database, self._rules.connect_timeout)
            await post.keep(session)
            return await within(self._rules.silence, session.takes_writes())
        except Exception:  # noqa: BLE001 - whatever a driver raises: it is asked again
            return False
