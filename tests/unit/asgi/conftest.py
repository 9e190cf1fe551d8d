"""Requests without a network, on time that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from asgi_stage import JumpingClock, JumpingLoop
from lobby import Lobby

from holdfast.asgi.door import Rules
from holdfast.events import BUS, Event

TELLS_TIME = ("answers", "context", "deadlines", "door", "health", "keyed", "keys", "replay")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    """The clock that all of `holdfast.asgi` reads in this test."""
    clock = JumpingClock()
    for module in TELLS_TIME:
        monkeypatch.setattr(f"holdfast.asgi.{module}.monotonic", clock.monotonic)
    monkeypatch.setattr("holdfast.asgi.door.usage", clock.usage)
    return clock


@pytest.fixture
def run(clock: JumpingClock) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on a jumping loop of its own."""

    def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=lambda: JumpingLoop(clock)) as runner:
            return runner.run(coroutine)

    return go


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """The events published on the process's bus meanwhile."""
    events: list[Event] = []
    unsubscribe = BUS.subscribe(events.append)
    yield events
    unsubscribe()


@pytest.fixture
def lobby(clock: JumpingClock, run: Any) -> Any:
    """Runs a story in a lobby of its own."""

    def go(story: Any, rules: Rules | None = None, pool: int = 5) -> Any:
        async def inside() -> Any:
            return await story(Lobby(clock, rules, pool))

        return run(inside())

    return go
