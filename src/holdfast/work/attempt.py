"""What one attempt at a journaled request came to, and what follows from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from holdfast.work.entry import Answer, Entry, Outcome, State, after_absence, after_answer, after_failure


@dataclass(frozen=True, slots=True)
class Absent:
    """We answered in place of the application, because the database or the application was away."""

    code: str


@dataclass(frozen=True, slots=True)
class Applied:
    """An effect of it is there, and no answer: nothing is to be run again."""

    code: str


@dataclass(frozen=True, slots=True)
class Raised:
    """There was no answer. *cause* holds no secret."""

    cause: str


@dataclass(frozen=True, slots=True)
class Spent:
    """It was not run again: too often its process ended while it ran."""

    interruptions: int


Ended: TypeAlias = Answer | Absent | Applied | Raised | Spent

_PARTLY = "before that a part of it had been saved: look at what is there before you have it run again"
_APPLIED = frozenset({"applied_but_interrupted"})
_ABSENT = frozenset(
    {
        "database_unavailable",
        "commit_outcome_unknown",  # asked again, with its key, once the database is back
        "waiting_room_full",
        "overloaded",
        "shutting_down",
        "starting",
        "idempotency_in_progress",  # an earlier run of it has not ended
    }
)


def meaning_of(code: str) -> Absent | Applied | None:
    """What our own refusal with *code* says of the attempt; None when it is an answer like any other."""
    if code in _APPLIED:
        return Applied(code)
    return Absent(code) if code in _ABSENT else None


def spent(entry: Entry, most: int) -> Spent | None:
    """Whether *entry* has ended its process once beside others and *most* times alone; None if it may run."""
    return Spent(entry.interruptions) if entry.interruptions > most else None


def outcome_of(entry: Entry, ended: Ended, most: int, delay_s: float) -> Outcome:
    """What becomes of *entry*; *most* attempts in all, *delay_s* before the next."""
    match ended:
        case Answer():
            return after_answer(entry, ended, most, delay_s)
        case Absent():
            return after_absence(entry, delay_s)
        case Applied(code):
            return _after_effect(entry, code)
        case Raised(cause):
            return after_failure(entry, cause, most, delay_s)
        case Spent(times):
            cause = f"its process ended while it ran, {times} times in a row"
            return Outcome(State.DEAD, None, entry.attempts, cause, interruptions=times)
        case _:
            assert_never(ended)


def _after_effect(entry: Entry, code: str) -> Outcome:
    """An effect is there: it is done if only its answer was lost, but not if it has failed before."""
    if not entry.attempts and not entry.cause:
        return Outcome(State.DONE, None, entry.attempts, code)
    cause = entry.cause if entry.cause.endswith(_PARTLY) else f"{entry.cause}; {_PARTLY}"
    return Outcome(State.DEAD, None, entry.attempts, cause)
