"""Backlog and age for health and metrics, without anybody waiting for the journal (JRN-4)."""

from __future__ import annotations

from typing import Any

import pytest
from drain_stage import US
from journal_words import a_new
from memory_journal import MemoryJournal

from holdfast.work.backlog import Figures
from holdfast.work.entry import Outcome, State
from holdfast.work.journal import JournalError
from jumping import JumpingClock


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock(1000.0)


@pytest.fixture
def journal() -> MemoryJournal:
    journal = MemoryJournal()
    for number, at in enumerate((900.0, 950.0, 990.0), start=1):
        journal.accept(a_new(f"op-{number}", order=str(number), journaled_at=at))
    return journal


def read(figures: Figures) -> dict[str, Any]:
    return {gauge.name: gauge.read() for gauge in figures.gauges()}


def test_what_waits_and_since_when(journal: MemoryJournal, clock: JumpingClock) -> None:
    journal.lease(1, US, 2000.0, 1000.0)
    journal.finish(1, US, Outcome(State.DEAD, None, 3, "answered 500"), 1000.0)
    figures = Figures(journal, clock)

    stored = 3 * a_new("op-1").size
    assert figures.check() == {
        "status": "up",
        "vital": False,
        "entries": 2,
        "dead": 1,
        "oldestSeconds": 50.0,
        "bytes": stored,
    }
    assert read(figures) == {
        "holdfast_journal_entries": {
            ("pending",): 2.0,
            ("running",): 0.0,
            ("done",): 0.0,
            ("failed",): 0.0,
            ("dead",): 1.0,
        },
        "holdfast_journal_bytes": float(stored),
        "holdfast_journal_oldest_seconds": 50.0,
    }


def test_the_journal_is_asked_at_most_once_a_second(journal: MemoryJournal, clock: JumpingClock) -> None:
    figures = Figures(journal, clock)
    for _ in range(10):
        figures.check()
        clock.now += 0.5

    assert journal.calls.count("backlog") <= 5


def test_what_is_known_is_told_while_the_journal_is_silent(
    journal: MemoryJournal, clock: JumpingClock
) -> None:
    figures = Figures(journal, clock)
    journal.hush("backlog")
    clock.now += 2
    assert (figures.check()["status"], figures.check()["entries"]) == ("up", 3)

    clock.now += 6
    assert (figures.check()["status"], figures.check()["entries"]) == ("failing", 3)

    journal.speak("backlog")
    assert figures.check()["status"] == "up"


def test_a_journal_that_cannot_be_read_is_failing_until_it_can(
    journal: MemoryJournal, clock: JumpingClock
) -> None:
    figures = Figures(journal, clock)
    journal.fails["backlog"] = JournalError("locked")
    clock.now += 2
    figures.check()
    assert figures.check()["status"] == "failing"

    del journal.fails["backlog"]
    clock.now += 2
    figures.check()
    assert figures.check()["status"] == "up"


def test_an_empty_journal_has_no_age(clock: JumpingClock) -> None:
    assert Figures(MemoryJournal(), clock).oldest_s() == 0.0
