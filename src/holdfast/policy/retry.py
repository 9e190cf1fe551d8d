"""Whether a call that failed is attempted again, and how long after.

Only what `on` names; never more attempts than configured; never a wait past the deadline; a server
that asks for a longer wait gets it, one that asks not to be called again is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.policy.backoff import Backoff
from holdfast.policy.matching import On

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, how soon, and after which exceptions to attempt again.

    `attempts` counts the first. `on` is exception types or a predicate; None means those that the
    classifier takes for transient. Raises ValueError for less than one attempt.
    """

    attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    on: On | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"Retry attempts is {self.attempts}; the first counts, so give 1 or more")


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failed attempt.

    `attempt` is its number; `concerned` whether `on` names it; `before` the wait that led to it;
    `retry_after` the seconds the server asked for; `forbidden` that it asked not to be called again.
    """

    attempt: int
    concerned: bool
    before: float | None = None
    retry_after: float | None = None
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """Attempt again, `after` seconds from now."""

    after: float


class GiveUp(StrEnum):
    """Why there is no further attempt, in words that end the sentence "not again: ..."."""

    NOT_CONCERNED = "this failure is not one to retry"
    ATTEMPTS = "all attempts are used up"
    FORBIDDEN = "the other side asked not to be called again"
    TOO_LONG = "the other side asked for a longer wait than the backoff's cap"
    DEADLINE = "the deadline comes before the next attempt"
    BUDGET = "the retry budget is spent"
    OPEN = "the circuit is open"


def after_failure(
    rules: Retry, failure: Failure, now: float, deadline_at: float, dice: Random
) -> Again | GiveUp:
    """What to do at *now*, after *failure*, for work that must end by *deadline_at* (monotonic seconds)."""
    if not failure.concerned:
        return GiveUp.NOT_CONCERNED
    if failure.forbidden:
        return GiveUp.FORBIDDEN
    if failure.attempt >= rules.attempts:
        return GiveUp.ATTEMPTS
    delay = rules.backoff.delay(failure.attempt, dice, failure.before)
    if failure.retry_after is not None:
        if failure.retry_after > rules.backoff.cap:
            return GiveUp.TOO_LONG
        delay = max(delay, failure.retry_after)
    if now + delay >= deadline_at:
        return GiveUp.DEADLINE
    return Again(delay)
