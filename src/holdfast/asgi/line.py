"""Those who wait for one database, and whose turn it is.

    comes                              stands in the line, by the time of arrival: whoever was inside
                                       when it happened came first
    comes when the line has moved for  stands apart; every third turn is theirs, so that an outage
    half a second, and still stands    which is over is not felt by whoever comes after it
    the line stops: away again         all stand in one line
    can be written down instead        keeps its order: never stands apart

The time is passed in, monotonic seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import chain

from holdfast.databases.database import Database
from holdfast.policy.window import Window

LARGEST_WINDOW = 32
APART_AFTER = 0.5
EVERY = 3  # with fewer turns for those in line, some would wait in vain who could be served in time


class Verdict(Enum):
    """What became of a request at the door."""

    GO = "go"
    TIMED_OUT = "timed out"
    OUTAGE_TOO_LONG = "outage too long"
    FULL = "full"
    STOPPING = "stopping"
    GONE = "gone"


class Line:
    """Those who wait for one database, and how many of them may be under way."""

    __slots__ = ("_apart", "_moves_since", "_turns", "_waiters", "database", "going", "window")

    def __init__(self, database: Database) -> None:
        self.database = database
        self.going = 0
        self.window = Window()
        self._waiters: deque[Waiter] = deque()
        self._apart: deque[Waiter] = deque()
        self._moves_since: float | None = None
        self._turns = 0

    def __len__(self) -> int:
        return len(self._waiters) + len(self._apart)

    def __iter__(self) -> Iterator[Waiter]:
        return chain(self._waiters, self._apart)

    def join(self, waiter: Waiter) -> None:
        """Stand in line by the time of arrival, or apart."""
        since = self._moves_since
        late = since is not None and waiter.arrived_at > since + APART_AFTER
        apart = late and bool(self._waiters) and not waiter.postponable
        _insert(self._apart if apart else self._waiters, waiter)

    def leave(self, waiter: Waiter) -> None:
        """It has been decided about: by a turn, or otherwise, and then it still stands there."""
        for those in (self._waiters, self._apart):
            if waiter.stands and waiter in those:
                those.remove(waiter)
                waiter.stands = False

    def moves(self, now: float) -> None:
        """Its database may be used."""
        if self._moves_since is None:
            self._moves_since = now

    def stops(self) -> None:
        """Its database may not be used: all stand in one line."""
        self._moves_since = None
        while self._apart:
            _insert(self._waiters, self._apart.popleft())

    def next(self) -> Waiter:
        """Whoever's turn it is; somebody waits."""
        self._turns += 1
        apart = self._apart and (not self._waiters or self._turns % EVERY == 0)
        waiter = (self._apart if apart else self._waiters).popleft()
        waiter.stands = False
        return waiter

    def give_up(self, late: Waiter) -> None:
        """*late* has waited long enough. If it is written down, whoever came before it goes first:
        the outage may have met them inside, so that they began to wait after it."""
        if late.postponable:
            for waiter in self._waiters:
                if waiter is late:
                    break
                if waiter.postponable:
                    waiter.settle(Verdict.TIMED_OUT)
        late.settle(Verdict.TIMED_OUT)

    def largest(self) -> int:
        """As many as the pool has connections, within reason."""
        return min(LARGEST_WINDOW, self.database.pool()["max"] or LARGEST_WINDOW)


class Waiter:
    """One request that waits: a future that is settled once, by whatever comes first."""

    __slots__ = ("_timer", "arrived_at", "future", "postponable", "stands")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        arrived_at: float,
        give_up: Callable[[Waiter], None],
        postponable: bool = False,
    ) -> None:
        self.arrived_at = arrived_at
        self.postponable = postponable  # it can be written down instead
        self.stands = True  # in a line, until it leaves it
        self.future: asyncio.Future[Verdict] = loop.create_future()
        self._timer = loop.call_later(timeout, give_up, self)

    def settle(self, verdict: Verdict) -> bool:
        """Decide, unless it was decided before; whether it was this call."""
        if self.future.done():
            return False
        self.future.set_result(verdict)
        return True

    def gone(self) -> None:
        """The client has left."""
        self.settle(Verdict.GONE)

    def close(self) -> None:
        """Let the timer go."""
        self._timer.cancel()


def _insert(those: deque[Waiter], waiter: Waiter) -> None:
    behind = 0
    while behind < len(those) and those[-1 - behind].arrived_at > waiter.arrived_at:
        behind += 1
    those.insert(len(those) - behind, waiter)
