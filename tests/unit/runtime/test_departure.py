"""Who keeps a process past its time is named, and nobody else is (BOOT-6, SHD-2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast import Settings
from holdfast.runtime import departure as module
from holdfast.runtime.departure import Departure, left_behind

Tell = Callable[[list[str]], None]


class Told:
    """What was written, and whether that was the last."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.closed = False

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.lines.append({"level": level, "event": event, **fields})

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def tells(monkeypatch: pytest.MonkeyPatch) -> list[Tell]:
    """What is called when a process is still there at its time."""
    kept: list[Tell] = []
    monkeypatch.setattr(module, "leave_at", lambda _moment, tell, _status=1: kept.append(tell))
    return kept


def test_a_failed_start_that_lingers_names_who_keeps_it(tells: list[Tell]) -> None:
    told: Any = Told()
    Departure(told, Settings(app_env="test"), list).failed(69)
    tells[0](["poller"])

    assert told.lines == [
        {"level": "error", "event": "left with work still going on", "tasks": [], "threads": ["poller"]}
    ]
    assert told.closed


def test_where_there_is_nobody_to_name_the_message_was_the_last_word(tells: list[Tell]) -> None:
    """A resolver that takes its time keeps the process, and is no work of the application's."""
    told: Any = Told()
    Departure(told, Settings(app_env="test"), list).failed(69)
    tells[0]([])

    assert told.lines == []
    assert told.closed


def test_nor_is_it_said_of_a_start_that_failed_before_there_was_a_log(
    tells: list[Tell], capsys: pytest.CaptureFixture[str]
) -> None:
    left_behind(78)
    tells[0]([])
    assert capsys.readouterr().err == ""

    tells[0](["poller"])
    assert capsys.readouterr().err == "left with work still going on: poller\n"
