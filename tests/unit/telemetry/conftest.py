"""What the telemetry tests share: a clock that jumps, a pipeline into memory, a request under way."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from holdfast.context import REQUEST, Request
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.telemetry import gates
from holdfast.telemetry.incidents import Incidents
from holdfast.telemetry.logs import Logs, configure

LOST = Fault(Category.DATABASE_CONNECTION, 503, transient=True, outcome=Outcome.NOT_APPLIED, lost=True)


class JumpingClock:
    """Stands still until told to jump."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        self.now += seconds


class Captured:
    """A pipeline of JSON lines into memory."""

    def __init__(self, logs: Logs, stream: io.StringIO) -> None:
        self.logs = logs
        self.stream = stream

    @property
    def lines(self) -> list[dict[str, Any]]:
        assert self.logs.flush(5.0)
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def captured() -> Iterator[Captured]:
    stream = io.StringIO()
    logs = configure("json", "debug", stream)
    yield Captured(logs, stream)
    logs.close()


@pytest.fixture
def under_way() -> Iterator[Callable[..., Request]]:
    """Makes a request and puts it under way, with a transient fault on its ledger if so wished."""

    def begin(
        name: str = "r-1", *, fault: bool = False, method: str = "GET", path: str = "/orders"
    ) -> Request:
        request = Request(name, method, path, arrived_at=999.0, deadline_at=1030.0)
        request.ledger.fault = LOST if fault else None
        REQUEST.set(request)
        return request

    yield begin
    REQUEST.set(None)


@pytest.fixture
def told(clock) -> Iterator[Incidents]:
    """Decides on every heavy record meanwhile."""
    keeper = Incidents(clock)
    gates.install(keeper)
    yield keeper
    gates.uninstall(keeper)
    assert logging.Logger.handle is gates._handle
    assert structlog.BoundLoggerBase._proxy_to_logger is gates._proxy
