"""Time that jumps: a clock, and an event loop that goes straight to its next deadline."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Any

import pytest

import jumping
from holdfast.events import BUS, Event
from holdfast.guard import Guard, RetryBudget, guard
from jumping import JumpingClock, JumpingLoop


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def run(clock: JumpingClock) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on a jumping loop of its own."""

    def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return jumping.run(clock, coroutine)

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
