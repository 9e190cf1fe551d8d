"""The journal's worker: leases, stopping, a journal that fails (JRN-3, SHD-1)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from drain_stage import THEM, DrainStage
from journal_words import created

from holdfast.work.entry import Answer, Entry, State
from holdfast.work.events import EntryFinished, JournalFailing
from holdfast.work.journal import JournalError
from jumping import until


@pytest.fixture
def stage() -> DrainStage:
    return DrainStage()


def takes(seconds: float) -> object:
    async def slowly(entry: Entry) -> Answer:
        await asyncio.sleep(seconds)
        return created()

    return slowly


def test_a_lease_is_prolonged_while_its_run_lasts(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.does = takes(100)

    async def story() -> None:
        for _ in range(90):
            await asyncio.sleep(1)
            assert stage.journal.entries[1].leased_until > stage.clock.now
        await until(stage.over)

    stage.play(story())

    assert (stage.ran, stage.states()) == ([1], ["done"])


def test_a_run_whose_lease_went_to_another_is_cancelled_and_writes_nothing(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.does = takes(100)

    async def story() -> None:
        await asyncio.sleep(1)
        stage.journal.entries[1] = replace(stage.journal.entries[1], holder=THEM, leased_until=9999.0)
        await until(lambda: stage.drain.running == 0)

    stage.play(story())

    assert stage.journal.calls.count("finish") == 0
    assert stage.journal.entries[1].holder == THEM
    assert stage.of(EntryFinished) == []


def test_a_lease_that_ran_out_and_came_back_to_us_does_not_run_it_twice(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.does = takes(60)
    stage.journal.fails["renew"] = JournalError("busy")
    stage.play(until(stage.over))

    assert (stage.ran, stage.states()) == ([1], ["done"])


def test_an_entry_whose_pause_is_over_at_once_runs_at_once(stage: DrainStage) -> None:
    """It is leased again in the go that ends its first run."""
    stage.drain._delay = lambda entry, ended: 0.0  # type: ignore[method-assign]
    stage.accepts("anna")
    answers = [created(), Answer(503)]

    async def again(entry: Entry) -> Answer:
        return answers.pop()

    stage.does = again
    took = stage.play(until(stage.over))

    assert (stage.ran, stage.states()) == ([1, 1], ["done"])
    assert took < 0.1


def test_a_result_that_could_not_be_written_is_written_later(stage: DrainStage) -> None:
    stage.accepts("anna", "anna")
    stage.journal.fails["finish"] = JournalError("the disk is full")

    async def story() -> None:
        await asyncio.sleep(5)
        assert stage.states() == ["running", "pending"]
        del stage.journal.fails["finish"]
        await until(stage.over)

    stage.play(story())

    assert (stage.ran, stage.states()) == ([1, 2], ["done", "done"])


def test_a_journal_that_fails_is_told_once_a_minute_and_tried_again(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.journal.fails["lease"] = JournalError("redis://:***@cache gives no answer")

    async def story() -> None:
        await asyncio.sleep(90)
        assert [told.place for told in stage.of(JournalFailing)] == ["memory"] * 2
        del stage.journal.fails["lease"]
        await until(stage.over)

    stage.play(story())

    assert stage.states() == ["done"]


def test_a_journal_that_is_silent_is_told_and_tried_again(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.journal.hush("lease")

    async def story() -> None:
        await asyncio.sleep(6)
        assert [told.cause for told in stage.of(JournalFailing)] == [
            "JournalError: memory gave no answer within 5.0 s"
        ]
        stage.journal.speak("lease")
        await until(stage.over)

    stage.play(story())


def test_stopping_waits_for_what_runs_and_leases_nothing_more(stage: DrainStage) -> None:
    """SHD-1: the worker stops at a boundary."""
    stage.accepts(*["anna"] * 5)
    stage.does = takes(2)

    async def story() -> list[str]:
        await asyncio.sleep(1)
        return await stage.drain.stop(5)

    assert stage.play(story()) == []
    assert stage.clock.now == pytest.approx(1002, abs=0.1)
    assert stage.states() == ["done", "pending", "pending", "pending", "pending"]


def test_what_does_not_end_is_cancelled_given_back_and_named(stage: DrainStage) -> None:
    stage.accepts("anna", "bert")
    stage.does = takes(3600)
    rolled_back: list[int] = []

    async def hangs(entry: Entry) -> Answer:
        try:
            await asyncio.sleep(3600)
        finally:
            rolled_back.append(entry.number)
        return created()

    stage.does = hangs

    async def story() -> list[str]:
        await asyncio.sleep(1)
        return await stage.drain.stop(5)

    assert stage.play(story()) == ["POST /orders", "POST /orders"]
    assert sorted(rolled_back) == [1, 2]
    assert stage.states() == ["pending", "pending"]
    assert {entry.attempts for entry in stage.journal.entries.values()} == {0}
    assert {entry.not_before for entry in stage.journal.entries.values()} <= {stage.clock.now}


def test_what_is_leased_while_stopping_is_given_back_unrun(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.journal.hush("lease")

    async def story() -> None:
        await asyncio.sleep(0.1)
        stopping = asyncio.ensure_future(stage.drain.stop(5))
        await asyncio.sleep(0.1)
        stage.journal.speak("lease")
        await stopping

    stage.play(story())

    assert (stage.ran, stage.states()) == ([], ["pending"])


def test_a_result_that_cannot_be_written_does_not_hinder_the_stop(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.journal.fails["finish"] = JournalError("the disk is full")

    async def story() -> float:
        await asyncio.sleep(1)
        began = stage.clock.now
        await stage.drain.stop(5)
        return stage.clock.now - began

    assert stage.play(story()) <= 6.0
    assert stage.journal.entries[1].state is State.RUNNING  # its lease runs out, its key protects it


def test_a_worker_that_never_began_can_be_stopped(stage: DrainStage) -> None:
    from jumping import run

    assert run(stage.clock, stage.drain.stop(1)) == []


def test_an_entry_of_a_killed_process_is_run_by_the_next_one(stage: DrainStage) -> None:
    """JRN-3: kill -9 of the process."""
    stage.accepts("anna")
    stage.journal.lease(1, THEM, 9999.0, 1000.0)

    async def story() -> float:
        await asyncio.sleep(3)
        assert stage.ran == []
        stage.journal.gone.add("them")
        return await until(stage.over)

    assert stage.play(story()) <= 1.01
