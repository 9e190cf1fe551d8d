"""Time that jumps: a clock, and an event loop that goes straight to its next deadline."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Any

import pytest

from holdfast.events import BUS, Event
from holdfast.guard import Guard, RetryBudget, guard


class JumpingClock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class JumpingSelector(selectors.DefaultSelector):
    """Looks whether anything is ready; if not, lets the time until the next timer pass."""

    clock: JumpingClock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen on this loop again")
            self.clock.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on a jumping clock."""

    def __init__(self, clock: JumpingClock) -> None:
        selector = JumpingSelector()
        selector.clock = clock
        super().__init__(selector)
        self._jumping = clock

    def time(self) -> float:
        return self._jumping.now


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def run(clock: JumpingClock) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on a jumping loop of its own."""

    def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=lambda: JumpingLoop(clock)) as runner:
            return runner.run(coroutine)

    return go


@pytest.fixture
def new_loop(clock: JumpingClock) -> Callable[[], JumpingLoop]:
    """Makes a jumping loop, for the test to run and close."""
    return lambda: JumpingLoop(clock)


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """The events published meanwhile."""
    events: list[Event] = []
    unsubscribe = BUS.subscribe(events.append)
    yield events
    unsubscribe()


@pytest.fixture
def make(clock: JumpingClock) -> Callable[..., Guard]:
    """`guard`, on the jumping clock, with a budget and dice of its own."""

    def with_clock(name: str = "payments", **parts: Any) -> Guard:
        parts.setdefault("budget", RetryBudget(clock=clock))
        return guard(name, clock=clock, sleep=clock.sleep, random=Random(1), **parts)

    return with_clock
