"""What happened to requests in one outage: counted from its first sign until the last of them is decided.

    suspected, or lost unsuspected   nothing is counted yet: what was before is no part of it
    back, nobody waits               the figures are told
    back, some still wait            they are told when the last of those has been decided
    lost again before that           they are told then

The owner of the figures is `Outages`; events arrive from any thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from holdfast.clock import Clock

SUSPICION_S: Final = 30.0  # a suspicion is confirmed by then, or was another one
DECIDED_S: Final = 60.0  # after an outage: whoever waits longer was cut off
_NEVER: Final = float("-inf")


@dataclass(slots=True)
class Outage:
    """What happened to requests while databases were away."""

    held: int = 0
    replayed: int = 0
    recovered: int = 0
    refused: int = 0
    failed: int = 0
    abandoned: int = 0


class Outages:
    """Gives the figures of an outage once, to whoever says what completes them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._figures = Outage()
        self._away: set[str] = set()
        self._undecided: set[str] = set()  # requests that were held, by id
        self._began_at = _NEVER
        self._over_at: float | None = None  # it is over, and its figures are not told

    def begins(self, database: str, *, lost: bool) -> Outage | None:
        """*database* is suspected, or lost. The figures of the outage before, if they are not told."""
        now = self._clock.monotonic()
        untold = None
        with self._lock:
            if not self._away and (not lost or now - self._began_at > SUSPICION_S):
                untold = None if self._over_at is None else self._figures
                self._figures, self._over_at, self._began_at = Outage(), None, now
                self._undecided.clear()
            if lost:
                self._away.add(database)
        return untold

    def ends(self, database: str) -> Outage | None:
        """*database* is back. The figures, if they are complete."""
        with self._lock:
            self._away.discard(database)
            self._began_at, self._over_at = _NEVER, self._clock.monotonic()
            return self._complete()

    def count(self, what: str | None, request_id: str) -> Outage | None:
        """It happened to that request; None: something else decided it. The figures, if complete now."""
        with self._lock:
            if what is not None:
                setattr(self._figures, what, getattr(self._figures, what) + 1)
            if what == "held":
                self._undecided.add(request_id)
            elif what != "replayed":
                self._undecided.discard(request_id)
            return self._complete()

    def _complete(self) -> Outage | None:
        if self._over_at is None:
            return None
        if self._undecided and self._clock.monotonic() - self._over_at < DECIDED_S:
            return None
        figures, self._figures, self._over_at = self._figures, Outage(), None
        self._undecided.clear()
        return figures
