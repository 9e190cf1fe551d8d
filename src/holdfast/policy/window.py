"""How many of those who waited may be under way at once, when what they waited for is back.

More at once helps only while the process itself is idle, waiting for answers from far away. Where
it computes all the time, each further one costs a fresh login and nobody is served sooner. So the
window starts small, and doubles after a round of answers during which the process was not busy.

    a round of answers, the process busy for       width
    less than BUSY of the time                     doubles, up to the largest
    BUSY of it or more                             stays

Time and processor time are passed in, seconds.
"""

from __future__ import annotations

FIRST = 4
BUSY = 0.75
ROUND = 8  # answers, at least: fewer say little


class Window:
    """The width of one door while it is being emptied."""

    __slots__ = ("_began_at", "_began_cpu", "_left", "width")

    def __init__(self) -> None:
        self.width = FIRST
        self._left = 0  # answers until the round is over; 0: none has begun
        self._began_at = self._began_cpu = 0.0

    def narrow(self) -> None:
        """Away again: the next ones are few."""
        self.width = FIRST
        self._left = 0

    def answered(self, now: float, cpu: float, largest: int) -> None:
        """One that was let go has been answered; *cpu* is what the process has computed so far."""
        if self._left > 1:
            self._left -= 1
            return
        if self._left == 1 and cpu - self._began_cpu < BUSY * (now - self._began_at):
            self.width *= 2
        self.width = min(self.width, max(FIRST, largest))
        self._left = max(ROUND, self.width)
        self._began_at, self._began_cpu = now, cpu
