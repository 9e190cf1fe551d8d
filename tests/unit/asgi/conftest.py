"""Requests without a network, on time that jumps."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from asgi_stage import ServerClock
from lobby import Lobby

import jumping
from holdfast.asgi.door import Rules
from holdfast.events import BUS, Event

TELLS_TIME = ("answers", "context", "deadlines", "door", "health", "keyed", "keys", "pausing", "postponing")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ServerClock:
    """The clock that all of `holdfast.asgi` reads in this test."""
    clock = ServerClock()
    for module in TELLS_TIME:
        monkeypatch.setattr(f"holdfast.asgi.{module}.monotonic", clock.monotonic)
    monkeypatch.setattr("holdfast.asgi.door.usage", clock.usage)
    return clock


@pytest.fixture
def run(clock: ServerClock) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on a jumping loop of its own."""

    def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return jumping.run(clock, coroutine)

    return go


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """The events published on the process's bus meanwhile."""
    events: list[Event] = []
    unsubscribe = BUS.subscribe(events.append)
    yield events
    unsubscribe()


@pytest.fixture
def lobby(clock: ServerClock, run: Any) -> Any:
    """Runs a story in a lobby of its own."""

    def go(story: Any, rules: Rules | None = None, pool: int = 5) -> Any:
        async def inside() -> Any:
            return await story(Lobby(clock, rules, pool))

        return run(inside())

    return go
