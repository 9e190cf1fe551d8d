"""Whether the server's loop has been away: its process or its machine slept, or something blocked it.

What was sent meanwhile lies in the system's queues until it is back, and so does the news that who
sent it has left. So for a moment a request that changes something is not run before it has been looked
whether anybody still waits for its answer. What the loop does now and then tells how long ago it was there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

AWAY_S = 2.0
_TICK_S = 0.5
_LOOKS_S = 2.0  # in which it comes to what had been sent


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def seconds() -> float:
    """Monotonic seconds that pass while the machine sleeps, too, where the system counts those."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class Absence:
    """That of one loop. Every method is called there."""

    __slots__ = ("_looks_until", "_now", "_ticked_at", "_timer")

    def __init__(self, now: Callable[[], float] = seconds) -> None:
        self._now = now
        self._ticked_at = now()
        self._looks_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Notice from now on when *loop* is away."""
        self.lately()
        self._ticked_at = self._now()
        self._timer = loop.call_later(_TICK_S, self.follow, loop)

    def leave(self) -> None:
        """It ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def lately(self) -> bool:
        """Whether the loop has been away for long, and is hardly back."""
        now = self._now()
        if self._timer is not None and now - self._ticked_at > _TICK_S + AWAY_S:
            self._looks_until = now + _LOOKS_S
        return now < self._looks_until
