"""`guard` itself: decorator and context manager, for plain functions and coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from asyncio import current_task
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, wraps
from random import Random
from types import TracebackType
from typing import NamedTuple, ParamSpec, TypeVar, cast

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.faults.classify import classify
from holdfast.guard.allowance import PROCESS_BUDGET, RetryBudget
from holdfast.guard.circuit import Circuit
from holdfast.guard.deadline import DEADLINE, bounded
from holdfast.guard.flight import Flight, Terms
from holdfast.guard.sweep import Sweep, sweeps
from holdfast.guard.wrappers import Sleep, guarded_async, guarded_sync
from holdfast.policy.breaker import Breaker
from holdfast.policy.deadline import NEVER
from holdfast.policy.retry import Retry

P = ParamSpec("P")
R = TypeVar("R")

_ONCE = Retry(attempts=1)
_UNBROKEN = Breaker(failures=None, on=())
_DICE = Random()


def _transient(error: Exception) -> bool:
    return classify(error).transient


_GENERATES = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _bare(call: object) -> tuple[object, object]:
    """What *call* calls once its partials are taken off, and, if that is an object, its `__call__`."""
    while isinstance(call, partial):
        call = call.func
    return call, getattr(type(call), "__call__", None)  # noqa: B004 - the question is what it is, not whether


def _name(call: object) -> str:
    return str(getattr(call, "__qualname__", type(call).__qualname__))


class _Entered(NamedTuple):
    """A `with` block under way: what its end needs, and the block round it."""

    guard: Guard
    flight: Flight
    published: float | None
    sweep: Sweep | None
    key: int
    timer: asyncio.TimerHandle | None
    round_it: _Entered | None


_ENTERED: ContextVar[_Entered | None] = ContextVar("holdfast_entered", default=None)


class Guard:
    """What `guard` gives: a decorator, and a context manager for `with` and `async with`.

    May be used any number of times, at once too; all its uses share `circuit`.
    """

    __slots__ = ("_sleep", "_terms", "circuit")

    def __init__(self, terms: Terms, sleep: Sleep) -> None:
        self._terms = terms
        self._sleep = sleep
        self.circuit = terms.circuit

    def __repr__(self) -> str:
        return f"guard({self._terms.name!r})"

    def __call__(self, call: Callable[P, R]) -> Callable[P, R]:
        """*call*, guarded. Raises TypeError for a generator function, whose work is not in its call."""
        if isinstance(call, classmethod | staticmethod):
            return cast("Callable[P, R]", type(call)(self(call.__func__)))
        bare, called = _bare(call)
        if any(is_one(one) for is_one in _GENERATES for one in (bare, called)):
            raise TypeError(
                f"{self!r} cannot guard the generator function {_name(bare)}: "
                "guard the function that fetches one item, or use `with` inside it"
            )
        if inspect.iscoroutinefunction(bare) or inspect.iscoroutinefunction(called):
            guarded = guarded_async(self._terms, call)
        else:
            guarded = guarded_sync(self._terms, call, self._sleep)
        return cast("Callable[P, R]", wraps(call)(guarded))

    def __enter__(self) -> Guard:
        """Breaker, and a deadline that inner guards and statements see. Raises Refused, TimeoutError."""
        self._enter(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Tell the breaker how the block ended."""
        self._leave(error)

    async def __aenter__(self) -> Guard:
        """Breaker and deadline, at which the block is cancelled. Raises Refused, TimeoutError."""
        self._enter(sweeps(self._terms.timeout, self._terms.clock.monotonic).find()[0])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Tell the breaker how the block ended. Raises TimeoutError if its deadline ended it."""
        self._leave(error)

    def _enter(self, sweep: Sweep | None) -> None:
        terms = self._terms
        began = terms.clock.monotonic()
        own = began + terms.timeout
        deadline = bounded(terms.name, own, began)
        flight = Flight(terms, terms.circuit.admit(), began, deadline)
        terms.budget.calls += 1
        timer, key = None, 0
        if sweep is not None:
            task = current_task(sweep.loop)
            assert task is not None
            key = sweep.latest = sweep.latest + 1
            sweep.live[key] = (task, deadline, task.cancelling())
            timer = sweep.alone(key, deadline - began) if deadline < NEVER else None
        _ENTERED.set(_Entered(self, flight, DEADLINE.get(), sweep, key, timer, _ENTERED.get()))
        DEADLINE.set(deadline)

    def _leave(self, error: BaseException | None) -> None:
        entered = _ENTERED.get()
        if entered is None or entered.guard is not self:
            raise RuntimeError(
                f"{self!r}: the block ends in another context than it began; use it within one task"
            )
        _ENTERED.set(entered.round_it)
        DEADLINE.set(entered.published)
        if entered.timer is not None:
            entered.timer.cancel()
        timed_out = entered.sweep is not None and entered.sweep.end(entered.key, error)
        if error is None:
            entered.flight.succeeded()
            return
        late = entered.flight.over(error, timed_out=timed_out)
        if late is not None:
            raise late from error


def guard(
    name: str,
    *,
    timeout: float | None = None,
    retry: Retry | None = None,
    breaker: Breaker | Circuit | None = None,
    budget: RetryBudget | None = None,
    clock: Clock = SYSTEM_CLOCK,
    random: Random = _DICE,
    sleep: Sleep = time.sleep,
) -> Guard:
    """Guard calls to *name*, as decorator or context manager.

    *timeout* (seconds) covers all attempts and the waits between; it interrupts coroutines only, a
    plain function sees it through `time_left`. Without *retry* a call is attempted once; without
    *breaker* none is refused; a `Circuit` may be shared by several guards. Retries draw on *budget*,
    the process-wide one unless another is given. *sleep* is how a plain function's guard waits,
    in its thread: on an event loop guard coroutine functions.
    Raises ValueError for a timeout that is not more than 0.
    """
    if timeout is not None and not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"guard {name!r} has timeout {timeout}; give seconds, more than 0, or None")
    rules = _ONCE if retry is None else retry
    circuit = breaker if isinstance(breaker, Circuit) else Circuit(name, breaker or _UNBROKEN, clock)
    terms = Terms(
        name=name,
        timeout=NEVER if timeout is None else timeout,
        retry=rules,
        on=_transient if rules.on is None else rules.on,
        circuit=circuit,
        budget=PROCESS_BUDGET if budget is None else budget,
        clock=clock,
        dice=random,
    )
    return Guard(terms, sleep)
