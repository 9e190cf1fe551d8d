"""How long to wait before the next attempt: exponential, linear or listed; capped; with jitter or none.

    exponential   first * factor ** (n - 1)        jitter none          the delay itself
    linear        first + step * (n - 1)           jitter full          evenly between 0 and the delay
    listed        the n-th, then the last again    jitter decorrelated  evenly between `first` and three
                                                                        times the delay before

n counts the attempts that have failed. Nothing exceeds `cap`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from random import Random


class Jitter(Enum):
    """How dice change a delay, so that those who failed together do not come back together."""

    NONE = "none"
    FULL = "full"
    DECORRELATED = "decorrelated"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds between attempts.

    With `delays` they are listed; with `step` they grow by it; otherwise by `factor`.
    Raises ValueError for delays that are negative, endless or shrinking.
    """

    first: float = 0.1
    factor: float = 2.0
    cap: float = 30.0
    jitter: Jitter = Jitter.FULL
    step: float | None = None
    delays: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = {"first": self.first, "cap": self.cap, "step": self.step or 0.0}
        numbers.update({f"delays[{n}]": delay for n, delay in enumerate(self.delays)})
        for name, seconds in numbers.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"Backoff {name} is {seconds}; give seconds, 0 or more")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise ValueError(f"Backoff factor is {self.factor}; give 1 or more, 2 doubles")

    @classmethod
    def linear(
        cls, first: float, step: float | None = None, *, cap: float = 30.0, jitter: Jitter = Jitter.FULL
    ) -> Backoff:
        """*first* seconds, then each time *step* more (as much as *first* unless said otherwise)."""
        return cls(first=first, step=first if step is None else step, cap=cap, jitter=jitter)

    @classmethod
    def listed(cls, *delays: float, jitter: Jitter = Jitter.NONE) -> Backoff:
        """Exactly *delays*, in order; the last is repeated."""
        if not delays:
            raise ValueError("Backoff.listed() got no delays; name at least one, in seconds")
        return cls(first=min(delays), delays=delays, cap=max(delays), jitter=jitter)

    def plain(self, failed: int) -> float:
        """Seconds to wait after the *failed*-th failure (1 is the first), before dice."""
        if self.delays:
            delay = self.delays[min(failed, len(self.delays)) - 1]
        elif self.step is not None:
            delay = self.first + self.step * (failed - 1)
        else:
            delay = self._grown(failed - 1)
        return min(self.cap, delay)

    def delay(self, failed: int, dice: Random, before: float | None = None) -> float:
        """Seconds to wait after the *failed*-th failure; *before* is the delay before it, if any."""
        match self.jitter:
            case Jitter.NONE:
                return self.plain(failed)
            case Jitter.FULL:
                return dice.uniform(0.0, self.plain(failed))
            case Jitter.DECORRELATED:
                lowest = min(self.first, self.cap)
                highest = max(lowest, 3.0 * (lowest if before is None else before))
                return min(self.cap, dice.uniform(lowest, highest))
            case _:
                assert_never(self.jitter)

    def _grown(self, times: int) -> float:
        try:
            return self.first * self.factor**times
        except OverflowError:  # a factor to the power of thousands of attempts; 0 stays 0
            return self.cap if self.first else 0.0
