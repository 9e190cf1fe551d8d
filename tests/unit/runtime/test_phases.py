"""Phases: each entered, timed, told; a failure carries its name (BOOT-1, BOOT-6)."""

from __future__ import annotations

import pytest

from holdfast.events import Bus, Event, PhaseFinished
from holdfast.runtime.phases import Phases
from holdfast.settings.failure import Exit, StartFailure


class Told:
    def __init__(self) -> None:
        self.entered: list[str] = []
        self.finished: list[str] = []
        self.events: list[Event] = []
        bus = Bus()
        bus.subscribe(self.events.append)
        self.phases = Phases(self.entered.append, lambda name, took: self.finished.append(name), bus)


def test_a_phase_is_told_with_its_duration_and_details() -> None:
    told = Told()
    with told.phases.phase("port") as detail:
        assert (told.entered, told.finished) == (["port"], [])
        detail += ["127.0.0.1:8000", "free"]

    assert told.finished == ["port"]
    (event,) = told.events
    assert isinstance(event, PhaseFinished)
    assert (event.phase, event.detail) == ("port", "127.0.0.1:8000, free")
    assert event.duration_ms >= 0


def test_a_failure_passes_untouched() -> None:
    told = Told()
    failure = StartFailure("port", "taken", "stop it", Exit.UNAVAILABLE)

    with pytest.raises(StartFailure) as caught, told.phases.phase("port"):
        raise failure
    assert caught.value is failure
    assert (told.finished, told.events) == ([], [])


def test_what_it_quotes_of_a_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3, DB-9: a library cuts a password at its first @, and takes what follows for the port."""
    monkeypatch.setenv("SHOP_DB", "postgresql://app:p@ss:w0rd/9@127.0.0.1/db")

    with pytest.raises(StartFailure) as caught, Told().phases.phase("databases"):
        int("w0rd")
    assert "w0rd" not in str(caught.value)
    assert "ValueError: invalid literal" in str(caught.value)


def test_any_other_exception_becomes_one_with_the_phases_name() -> None:
    error = ValueError("odd")

    with pytest.raises(StartFailure) as caught, Told().phases.phase("listen"):
        raise error
    assert (caught.value.phase, caught.value.exit_status) == ("listen", Exit.SOFTWARE)
    assert "ValueError: odd" in str(caught.value)
    assert "--debug" in caught.value.action
    assert caught.value.__cause__ is error
