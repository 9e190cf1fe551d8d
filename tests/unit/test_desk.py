"""What is told when a journal is opened (JRN-2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.databases.adopt import Registry
from holdfast.desk import Desk
from holdfast.events import BUS, Event
from holdfast.policy.routes import Routes
from holdfast.settings.settings import Settings
from holdfast.work.events import JournalUnmarked


@pytest.fixture
def told() -> Iterator[list[Event]]:
    events: list[Event] = []
    unsubscribe = BUS.subscribe(events.append)
    yield events
    unsubscribe()


@pytest.mark.parametrize("idempotency", [True, False])
def test_a_journal_without_markers_warns_once(tmp_path: Path, told: list[Event], idempotency: bool) -> None:
    """JRN-2: without them a run that is cut off after its COMMIT happens twice."""
    settings = Settings(
        state_dir=tmp_path / "state", journal=Routes(["POST /orders"]), idempotency=idempotency
    )
    desk = Desk(settings, Registry())
    try:
        assert desk.open(None) == desk.open(None) != ""
    finally:
        desk.close()

    warnings = [one for one in told if isinstance(one, JournalUnmarked)]
    assert len(warnings) == (0 if idempotency else 1)
    for one in warnings:
        assert "HOLDFAST_IDEMPOTENCY=false" in one.cause
        assert "HOLDFAST_JOURNAL" in one.cause
