"""The journal's worker: order, how many at once, failures, absence (JRN-2, JRN-3)."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from drain_stage import DrainStage
from journal_words import created

from holdfast.work.attempt import Absent
from holdfast.work.drain import Rules
from holdfast.work.entry import Answer, Entry
from holdfast.work.events import EntryDeferred, EntryFinished, JournalDrained
from jumping import until


@pytest.fixture
def stage() -> DrainStage:
    return DrainStage()


def test_entries_of_one_order_run_one_after_the_other_as_they_were_accepted(stage: DrainStage) -> None:
    """JRN-2: in order per key."""
    stage.accepts(*["anna"] * 5)

    async def slowly(entry: Entry) -> Answer:
        await asyncio.sleep(0.1)
        return created()

    stage.does = slowly
    stage.play(until(stage.over))

    assert stage.ran == [1, 2, 3, 4, 5]
    assert stage.most_at_once == 1
    assert stage.states() == ["done"] * 5


def test_at_most_so_many_run_at_once() -> None:
    stage = DrainStage(Rules(concurrency=3))
    stage.accepts(*"abcdefgh")

    async def slowly(entry: Entry) -> Answer:
        await asyncio.sleep(0.1)
        return created()

    stage.does = slowly
    stage.play(until(stage.over))

    assert stage.most_at_once == 3
    assert sorted(stage.ran) == list(range(1, 9))


def test_what_became_of_one_and_the_next_are_asked_for_in_one_go(stage: DrainStage) -> None:
    """So they share one commit; and no tick is waited for."""
    stage.accepts(*["anna"] * 100)
    took = stage.play(until(stage.over))

    calls = [call for call in stage.journal.calls if call in ("finish", "lease")]
    assert took < 0.1
    assert calls[1:].count("lease") <= calls.count("finish") + 1
    after_each = [calls[at + 1] for at, call in enumerate(calls) if call == "finish"]
    assert after_each == ["lease"] * 100


def test_the_answer_is_kept_and_told(stage: DrainStage) -> None:
    stage.accepts("anna")
    stage.play(until(stage.over))

    entry = stage.journal.entries[1]
    assert entry.answer == created()
    (told,) = stage.of(EntryFinished)
    assert (told.number, told.method, told.path, told.state, told.status) == (
        1,
        "POST",
        "/orders",
        "done",
        201,
    )


def test_a_poison_operation_is_attempted_so_often_and_is_dead() -> None:
    """JRN-3."""
    stage = DrainStage(Rules(attempts=3))
    stage.accepts("anna", "anna")

    async def breaks(entry: Entry) -> Answer:
        return Answer(500) if entry.number == 1 else created()

    stage.does = breaks
    stage.play(until(stage.over))

    assert stage.ran == [1, 1, 1, 2]
    assert stage.states() == ["dead", "done"]
    assert [told.attempts for told in stage.of(EntryDeferred)] == [1, 2]
    assert stage.journal.entries[1].cause == "answered 500"


def test_what_the_application_raises_is_a_failure_and_its_text_is_not_kept() -> None:
    stage = DrainStage(Rules(attempts=1))
    stage.accepts("anna")

    async def breaks(entry: Entry) -> Answer:
        raise ValueError("password=secret")

    stage.does = breaks
    stage.play(until(stage.over))

    assert (stage.states(), stage.journal.entries[1].cause) == (["dead"], "ValueError")


def test_a_failed_one_does_not_stop_those_behind_it(stage: DrainStage) -> None:
    stage.accepts("anna", "anna")

    async def refuses(entry: Entry) -> Answer:
        return Answer(422) if entry.number == 1 else created()

    stage.does = refuses
    stage.play(until(stage.over))

    assert stage.states() == ["failed", "done"]


def test_a_run_that_does_not_end_is_a_failure() -> None:
    stage = DrainStage(Rules(attempts=1, longest_s=30.0))
    stage.accepts("anna")

    async def hangs(entry: Entry) -> Answer:
        await asyncio.sleep(3600)
        return created()

    stage.does = hangs
    took = stage.play(until(stage.over))

    assert 30.0 <= took < 30.1
    assert stage.journal.entries[1].cause == "TimeoutError"


def test_an_application_that_cancels_itself_has_failed() -> None:
    stage = DrainStage(Rules(attempts=1))
    stage.accepts("anna")

    async def cancels(entry: Entry) -> Answer:
        raise asyncio.CancelledError

    stage.does = cancels
    stage.play(until(stage.over))

    assert stage.journal.entries[1].cause == "CancelledError"


def test_the_databases_absence_costs_no_attempt() -> None:
    stage = DrainStage(Rules(attempts=2))
    stage.accepts("anna")
    absences = [Absent("database_unavailable")] * 5

    async def away(entry: Entry) -> Answer | Absent:
        return absences.pop() if absences else created()

    stage.does = away
    took = stage.play(until(stage.over))

    assert (stage.states(), stage.journal.entries[1].attempts, len(stage.ran)) == (["done"], 0, 6)
    assert took < 10.0
    assert {told.cause for told in stage.of(EntryDeferred)} == {"database_unavailable"}


def test_nothing_is_leased_while_a_database_is_away(stage: DrainStage) -> None:
    stage.ready = False
    stage.accepts("anna")

    async def story() -> float:
        await asyncio.sleep(30)
        assert "lease" not in stage.journal.calls
        stage.ready = True
        stage.drain.wake()
        return await until(stage.over)

    assert stage.play(story()) <= 0.02


def test_whoever_accepts_may_wake_it_from_any_thread(stage: DrainStage) -> None:
    async def story() -> float:
        await asyncio.sleep(0.5)
        stage.accepts("anna")
        waker = threading.Thread(target=stage.drain.wake)
        waker.start()
        waker.join()
        return await until(stage.over)

    assert stage.play(story()) <= 0.02


def test_what_others_have_accepted_is_seen_within_a_second(stage: DrainStage) -> None:
    async def story() -> float:
        await asyncio.sleep(0.5)
        stage.accepts("anna")
        return await until(stage.over)

    assert stage.play(story()) <= 1.01


def test_an_empty_journal_is_told_once(stage: DrainStage) -> None:
    stage.accepts(*"abcdef")

    async def story() -> None:
        await until(stage.over)
        await asyncio.sleep(5)

    stage.play(story())

    (told,) = stage.of(JournalDrained)
    assert (told.place, told.entries) == ("memory", 6)


def test_old_entries_are_pruned_now_and_then() -> None:
    stage = DrainStage(Rules(keep_s=60.0, prune_every_s=10.0))
    stage.accepts("anna")

    async def story() -> None:
        await until(stage.over)
        await asyncio.sleep(60)
        assert list(stage.journal.entries) == [1]
        await asyncio.sleep(11)

    stage.play(story())

    assert stage.journal.entries == {}


def test_entries_do_not_see_each_others_context(stage: DrainStage) -> None:
    seen = contextvars.ContextVar("seen", default=0)
    found: list[int] = []

    async def marks(entry: Entry) -> Answer:
        found.append(seen.get())
        seen.set(entry.number)
        return created()

    stage.does = marks
    stage.accepts(*["anna"] * 3)
    stage.play(until(stage.over))

    assert found == [0, 0, 0]
