"""How much waits in the journal, for health pages and metrics: never asked for while somebody waits.

Figures are at most a second old where the journal answers. Whoever reads them gets what is known
and, when that is old, makes the journal be asked; its answer comes in the journal's own thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeAlias

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.work.entry import Backlog, State
from holdfast.work.journal import Journal

FRESH_S = 1.0
SILENT_S = 5.0  # without an answer: the journal is failing
Labels: TypeAlias = tuple[str, ...]
Read: TypeAlias = Callable[[], float | Mapping[Labels, float]]


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric, as `Metrics.gauge` takes it."""

    name: str
    help: str
    read: Read
    labels: Labels = ()


class Figures:
    """What is known of one journal's backlog. To be read from any thread."""

    def __init__(self, journal: Journal, clock: Clock = SYSTEM_CLOCK) -> None:
        self._journal = journal
        self._clock = clock
        self._known = Backlog()
        self._known_at: float | None = None
        self._asked_at: float | None = None  # and not answered yet
        self._failed = False
        self._ask()

    def known(self) -> Backlog:
        """The latest figures; the journal is asked for newer ones when they are old."""
        now = self._clock.monotonic()
        old = self._known_at is None or now - self._known_at > FRESH_S
        if old and self._asked_at is None:
            self._ask()
        return self._known

    def oldest_s(self) -> float:
        """Seconds for which the oldest entry that waits has waited; 0 when none does."""
        oldest_at = self.known().oldest_at
        return 0.0 if oldest_at is None else max(0.0, self._clock.wall() - oldest_at)

    def check(self) -> dict[str, Any]:
        """What the health page says of the journal."""
        known = self.known()
        return {
            "status": "failing" if self._is_failing() else "up",
            "vital": False,
            "entries": known.entries,
            "dead": known.by_state.get(State.DEAD.value, 0),
            "oldestSeconds": round(self.oldest_s(), 3),
            "bytes": known.stored_bytes,
        }

    def gauges(self) -> tuple[Gauge, ...]:
        """The metrics of the journal."""
        return (
            Gauge("holdfast_journal_entries", "Journaled requests by state.", self._by_state, ("state",)),
            Gauge("holdfast_journal_bytes", "Room the journal takes of its bound.", self._bytes),
            Gauge(
                "holdfast_journal_oldest_seconds",
                "How long the oldest journaled request that waits has waited.",
                self.oldest_s,
            ),
        )

    # ---- inside ---------------------------------------------------------------------------------

    def _by_state(self) -> dict[Labels, float]:
        counts = self.known().by_state
        return {(state.value,): float(counts.get(state.value, 0)) for state in State}

    def _bytes(self) -> float:
        return float(self.known().stored_bytes)

    def _is_failing(self) -> bool:
        asked_at = self._asked_at
        return self._failed or (asked_at is not None and self._clock.monotonic() - asked_at > SILENT_S)

    def _ask(self) -> None:
        self._asked_at = self._clock.monotonic()
        self._journal.backlog().add_done_callback(self._answered)

    def _answered(self, answer: Future[Backlog]) -> None:
        """In the journal's thread."""
        self._failed = answer.cancelled() or answer.exception() is not None
        if not self._failed:
            self._known = answer.result()
        self._known_at = self._clock.monotonic()
        self._asked_at = None
