"""The deadline in force, handed inwards by a contextvar: request, guard, query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.context import REQUEST
from holdfast.policy.deadline import NEVER, left, shrink, soonest

DEADLINE: ContextVar[float | None] = ContextVar("holdfast_deadline", default=None)


def deadline_at() -> float:
    """The moment (monotonic seconds) by which the work under way must end; infinite without a deadline."""
    request = REQUEST.get()
    return soonest(DEADLINE.get(), None if request is None else request.deadline_at)


def time_left(clock: Clock = SYSTEM_CLOCK) -> float | None:
    """Seconds that the work under way may still take, 0 when they are over, None without a deadline."""
    moment = deadline_at()
    return None if moment == NEVER else left(moment, clock.monotonic())


@contextmanager
def deadline_in(seconds: float, clock: Clock = SYSTEM_CLOCK) -> Iterator[float]:
    """Bound the guards and statements inside the block to *seconds* from now, or to what is left if less.

    Gives the moment in force (monotonic seconds). It tells, it does not interrupt.
    """
    before = DEADLINE.get()
    moment = shrink(deadline_at(), clock.monotonic(), seconds)
    DEADLINE.set(moment)
    try:
        yield moment
    finally:
        DEADLINE.set(before)


def bounded(name: str, own: float, now: float) -> float:
    """The deadline in force, *own* or nearer. Raises TimeoutError if it has passed at *now*."""
    deadline = min(own, deadline_at())
    if deadline <= now:
        raise TimeoutError(
            f"{name!r} was not called: the deadline round it passed {now - deadline:.2f} s ago"
        )
    return deadline
