"""Time as an argument: shells take a `Clock`, pure code takes `now`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells monotonic seconds and wall time; tests hand in one that jumps."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean something."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, for people to read."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


SYSTEM_CLOCK = SystemClock()
