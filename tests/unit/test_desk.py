"""What is told when a journal is opened (JRN-2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.databases.adopt import Registry
from holdfast.desk import Desk
from holdfast.events import BUS, Event
from holdfast.policy.routes import Routes
from holdfast.settings.settings import Settings
from holdfast.work.events import JournalInaccessible, JournalUnmarked
from holdfast.work.journal import JournalUnusableError
from holdfast.work.opening import Place, open_journal


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


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder with the journal of routes that are gone."""
    folder = tmp_path / "state"
    open_journal(Place(folder=folder, max_bytes=1 << 20)).close()
    return folder


def hide(monkeypatch: pytest.MonkeyPatch, hidden: Callable[[Path], bool]) -> None:
    """As for a user who may not see what is *hidden*."""
    real = Path.stat

    def stat(path: Path, **how: Any) -> os.stat_result:
        if hidden(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)


def test_what_routes_that_are_gone_have_left_is_opened(left: Path) -> None:
    """JRN-2."""
    desk = Desk(Settings(state_dir=left), Registry())

    assert desk.open(None) == str(left / "journal.sqlite3")
    desk.close()


@pytest.mark.parametrize("name", ["journal.sqlite3", "journal.sqlite3.lock"])
def test_a_journal_of_another_user_is_told_once_and_left(
    left: Path, told: list[Event], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """JRN-1: no route is journaled, so nothing needs it."""
    hide(monkeypatch, lambda path: path == left / name)
    desk = Desk(Settings(state_dir=left), Registry())

    assert desk.open(None) == desk.open(None) == ""
    assert desk.journal is None
    (warning,) = [one for one in told if isinstance(one, JournalInaccessible)]
    assert warning.place == str(left)
    assert "HOLDFAST_STATE_DIR" in warning.cause


def test_with_journaled_routes_it_refuses_the_start(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JRN-1."""
    hide(monkeypatch, lambda path: path.parent == left)
    desk = Desk(Settings(state_dir=left, journal=Routes(["POST /orders"])), Registry())

    with pytest.raises(JournalUnusableError, match="HOLDFAST_STATE_DIR"):
        desk.open(None)
