"""The deadline in force, handed inwards by a contextvar: request, guard, query."""

from __future__ import annotations

from contextlib import AbstractContextManager
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


def deadline_in(seconds: float, clock: Clock = SYSTEM_CLOCK) -> AbstractContextManager[float]:
    """Bound the guards and statements inside the block to *seconds* from now, or to what is left if less.

    Gives the moment in force (monotonic seconds). It tells, it does not interrupt.
    """
    return _Block(seconds, clock)


class _Block:
    """A generator would write a traceback onto an exception that is passing through: frozen ones, as
    dataclasses make them, refuse that."""

    __slots__ = ("_before", "_clock", "_seconds")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds = seconds
        self._clock = clock
        self._before: float | None = None

    def __enter__(self) -> float:
        self._before = DEADLINE.get()
        moment = shrink(deadline_at(), self._clock.monotonic(), self._seconds)
        DEADLINE.set(moment)
        return moment

    def __exit__(self, *_: object) -> None:
        DEADLINE.set(self._before)


def bounded(name: str, own: float, now: float) -> float:
    """The deadline in force, *own* or nearer. Raises TimeoutError if it has passed at *now*."""
    deadline = min(own, deadline_at())
    if deadline <= now:
        raise TimeoutError(
            f"{name!r} was not called: the deadline round it passed {now - deadline:.2f} s ago"
        )
    return deadline
