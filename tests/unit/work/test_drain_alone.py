"""The journal's worker and entries whose process ended while they ran: they run alone (JRN-3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from drain_stage import THEM, US, DrainStage
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_words import created

from holdfast.work.attempt import Ended, Raised
from holdfast.work.drain import Rules
from holdfast.work.entry import Answer, Entry, State
from holdfast.work.events import EntryFailed
from jumping import until

ENTRIES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.integers(1, 30), st.booleans()),
    min_size=1,
    max_size=12,
)


@pytest.fixture
def stage() -> DrainStage:
    return DrainStage()


def interrupted(stage: DrainStage, *numbers: int, times: int = 1) -> None:
    """Somebody held these and was killed."""
    stage.journal.gone.add(THEM.incarnation)
    for number in numbers:
        held = replace(
            stage.journal.entries[number],
            state=State.RUNNING,
            holder=THEM,
            leased_until=9e9,
            interruptions=times - 1,
        )
        stage.journal.entries[number] = held


def test_who_was_interrupted_runs_alone_and_others_together(stage: DrainStage) -> None:
    """JRN-3: whoever ends the process again was alone in it."""
    stage.accepts(*"abcdefgh")
    interrupted(stage, 2, 3, 6)
    beside: dict[int, set[int]] = {}

    async def slowly(entry: Entry) -> Answer:
        for _ in range(10):
            for one in stage.at_once:
                beside.setdefault(one, set()).update(stage.at_once)
            await asyncio.sleep(0.01)
        return created()

    stage.does = slowly
    stage.play(until(stage.over))

    assert sorted(stage.ran) == list(range(1, 9))
    assert stage.states() == ["done"] * 8
    assert [beside[number] for number in (2, 3, 6)] == [{2}, {3}, {6}]
    assert stage.most_at_once > 1


def test_those_that_are_given_back_are_charged_with_nothing(stage: DrainStage) -> None:
    """Nobody waits under a lease for one that runs alone: its end would be theirs."""
    stage.accepts(*"abcd")
    interrupted(stage, 1, 2, 3, times=2)
    held: list[list[int]] = []

    async def looks(entry: Entry) -> Answer:
        await asyncio.sleep(0.1)
        held.append([n for n, one in stage.journal.entries.items() if one.holder == US])
        return created()

    stage.does = looks
    stage.play(until(stage.over))

    assert held[:3] == [[1], [2], [3]]
    assert [one.interruptions for one in stage.journal.entries.values()] == [0] * 4


def test_one_that_ended_its_process_too_often_is_dead_and_was_not_run() -> None:
    """JRN-3."""
    stage = DrainStage(Rules(attempts=3))
    stage.accepts("anna", "anna", "bert")
    interrupted(stage, 1, times=4)
    interrupted(stage, 3, times=3)
    stage.play(until(stage.over))

    assert sorted(stage.ran) == [2, 3]
    assert stage.states() == ["dead", "done", "done"]
    assert stage.journal.entries[1].cause == "its process ended while it ran, 4 times in a row"
    (told,) = stage.of(EntryFailed)
    assert (told.number, told.state) == (1, "dead")


def test_one_that_somebody_else_took_is_not_waited_for(stage: DrainStage) -> None:
    """Nothing else is leased for the sake of one that is to run alone, while that can still be had."""
    stage.accepts(*"abcdef")
    interrupted(stage, 2)

    async def slowly(entry: Entry) -> Answer:
        if entry.number == 1:
            taken = replace(stage.journal.entries[2], state=State.DONE)
            await asyncio.sleep(0.1)
            stage.journal.entries[2] = taken
        await asyncio.sleep(0.1)
        return created()

    stage.does = slowly
    took = stage.play(until(stage.over))

    assert sorted(stage.ran) == [1, 3, 4, 5, 6]
    assert took < 1.0


@settings(deadline=None, max_examples=200)
@given(entries=ENTRIES, concurrency=st.integers(1, 4))
def test_it_runs_beside_nobody_and_everything_runs(
    entries: list[tuple[str, int, int, bool]], concurrency: int
) -> None:
    """Nor does anybody wait under a lease meanwhile; and nobody is charged who was not interrupted."""
    stage = DrainStage(Rules(concurrency=concurrency, attempts=3))
    stage.accepts(*(order for order, *_ in entries))
    stage.journal.gone.add(THEM.incarnation)
    first: set[str] = set()
    for number, (order, times, _, _) in enumerate(entries, 1):
        entry = replace(stage.journal.entries[number], interruptions=times)
        if times and order not in first:  # of an order one runs at a time
            entry = replace(
                entry, state=State.RUNNING, holder=THEM, leased_until=9e9, interruptions=times - 1
            )
        first.add(order)
        stage.journal.entries[number] = entry
    broke: set[int] = set()
    wrong: list[tuple[Entry, list[int]]] = []

    async def works(entry: Entry) -> Ended:
        _, times, length, breaks = entries[entry.number - 1]
        charged = 0 if entry.number in broke else times
        for _ in range(length):
            held = [n for n, one in stage.journal.entries.items() if one.holder == US]
            if entry.interruptions != charged or (charged and held != [entry.number]):
                wrong.append((entry, held))
            await asyncio.sleep(0.01)
        if breaks and entry.number not in broke:
            broke.add(entry.number)
            return Raised("ValueError")
        return created()

    stage.does = works
    stage.play(until(stage.over))

    assert wrong == []
    assert stage.states() == ["done"] * len(entries)
    assert stage.most_at_once <= concurrency
