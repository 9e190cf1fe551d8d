"""What the journal's worker tells: entries that ended or will be tried again, an empty journal, trouble."""

from __future__ import annotations

from holdfast.clock import Clock
from holdfast.events import Bus
from holdfast.faults.redact import redact_text
from holdfast.work.attempt import Absent, Ended
from holdfast.work.entry import Entry, Outcome, State
from holdfast.work.events import EntryDeferred, EntryFailed, EntryFinished, JournalDrained, JournalFailing

FAILING_EVERY_S = 60.0


class Progress:
    """Publishes it on *bus*, and owns the figures of the present backlog's end."""

    __slots__ = ("_began_at", "_bus", "_clock", "_failing_at", "_place", "finished")

    def __init__(self, place: str, bus: Bus, clock: Clock) -> None:
        self.finished = 0  # since the journal was last empty
        self._place = place
        self._bus = bus
        self._clock = clock
        self._began_at: float | None = None
        self._failing_at: float | None = None  # when that was last told

    def began(self) -> None:
        """An entry is run."""
        if self._began_at is None:
            self._began_at = self._clock.monotonic()

    def ended(self, entry: Entry, outcome: Outcome) -> None:
        """An entry is done, failed or dead."""
        self.finished += 1
        event = EntryFinished if outcome.state is State.DONE else EntryFailed
        self._bus.publish(
            event(
                number=entry.number,
                method=entry.new.method,
                path=path_of(entry),
                state=outcome.state.value,
                status=outcome.answer.status if outcome.answer else None,
                attempts=outcome.attempts,
                waited_s=self._clock.wall() - entry.new.journaled_at,
                cause=outcome.cause,
            )
        )

    def deferred(self, entry: Entry, outcome: Outcome, ended: Ended) -> None:
        """An entry will be run again."""
        cause = ended.code if isinstance(ended, Absent) else outcome.cause
        self._bus.publish(
            EntryDeferred(
                number=entry.number, attempts=outcome.attempts, delay_s=outcome.delay_s, cause=cause
            )
        )

    def drained(self) -> None:
        """Nothing waits any more."""
        now = self._clock.monotonic()
        took = now - (now if self._began_at is None else self._began_at)
        self._bus.publish(JournalDrained(place=self._place, entries=self.finished, took_s=took))
        self.finished, self._began_at = 0, None

    def failing(self, error: Exception) -> None:
        """The journal cannot be read or written: told once a minute."""
        now = self._clock.monotonic()
        if self._failing_at is None or now - self._failing_at >= FAILING_EVERY_S:
            self._failing_at = now
            cause = redact_text(f"{type(error).__name__}: {error}")
            self._bus.publish(JournalFailing(place=self._place, cause=cause))


def path_of(entry: Entry) -> str:
    """The path it was sent to, without the query."""
    return entry.new.target.partition("?")[0]
