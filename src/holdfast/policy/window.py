"""How many of those who waited may be under way at once, when what they waited for is back.

More at once helps only while the process itself is idle, waiting for answers from far away. Where
it computes all the time, each further one costs a fresh login and nobody is served sooner. So the
window starts small, and doubles after a round of answers during which the process was not busy.

    a round of answers, the process busy for    width                      one core
    less than BUSY of the time                  doubles, up to largest     no
    BUSY to ONE of it, its threads in turns     stays                      yes, for LONGEST at most
    BUSY to ONE of it, in one thread            stays                      as it was
    more than ONE of it: really side by side    stays                      no

On one core it is less than SHARED that counts as idle: the server's processes come and go there. Where one
core has been tried, and is idle or shared with somebody as busy, it is not tried again.

In turns: threads that share Python's one lock. One of them runs at a time, so another core is of no
use to them, and each turn that goes to one is dear (decisions/0011).

Time and usage are passed in, seconds.
"""

from __future__ import annotations

from typing import NamedTuple

FIRST = 4
BUSY = 0.75
SHARED = 0.6
ONE = 1.15
ROUND = 8  # answers, at least: fewer say little
TURNS = 2  # times that threads waited for each other, for each answer
LONGEST = 3.0  # seconds on one core


class Usage(NamedTuple):
    """What a process has used until now."""

    computed: float  # seconds of processor time
    waited: int  # times that one of its threads gave up its core to wait


class Window:
    """The width of one door while it is being emptied, and whether on one core."""

    __slots__ = ("_began", "_began_at", "_left", "_may", "_one_core_since", "one_core", "width")

    def __init__(self) -> None:
        self.narrow()

    def narrow(self) -> None:
        """Away again: the next ones are few."""
        self.width = FIRST
        self.one_core = False
        self._may = True  # be on one core
        self._one_core_since = 0.0
        self._left = 0  # answers until the round is over; 0: none has begun
        self._began_at, self._began = 0.0, Usage(0.0, 0)

    def answered(self, now: float, used: Usage, largest: int) -> None:
        """One that was let go has been answered; *used* is what the process has used so far."""
        if self._left > 1:
            self._left -= 1
            return
        if self._left == 1:
            self._conclude(now, used)
        self.width = min(self.width, max(FIRST, largest))
        self._left = max(ROUND, self.width)
        self._began_at, self._began = now, used

    def _conclude(self, now: float, used: Usage) -> None:
        """A round is over."""
        passed = now - self._began_at
        computed = used.computed - self._began.computed
        if computed < (SHARED if self.one_core else BUSY) * passed:
            self.width *= 2
            self._spread()
        elif computed > ONE * passed or (self.one_core and now - self._one_core_since > LONGEST):
            self._spread()
        elif self._may and not self.one_core:
            answers = max(ROUND, self.width)
            self.one_core = used.waited - self._began.waited >= TURNS * answers
            self._one_core_since = now

    def _spread(self) -> None:
        """No longer on one core, if it was."""
        self._may = self._may and not self.one_core
        self.one_core = False
