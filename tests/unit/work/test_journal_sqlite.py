"""The SQLite journal, call by call: the promises of `Journal` (JRN-1, JRN-3, JRN-4, JRN-5)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from journal_asked import DONE, HERE, NOW, THERE, accepted, leased, new

from holdfast.events import Bus, Event
from holdfast.work.entry import Answer, Backlog, Holder, Outcome, State
from holdfast.work.events import JournalDamaged
from holdfast.work.journal import JournalError, JournalUnusableError
from holdfast.work.journal_sqlite import SqliteJournal, open_sqlite


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = open_sqlite(tmp_path / "state", max_bytes=10_000_000)
    yield journal
    journal.close()


def test_what_is_accepted_comes_back_as_it_was_sent(journal: SqliteJournal) -> None:
    sent = new("a", body=bytes(range(256)) * 100)
    number = journal.accept(sent).result()

    entry = journal.find("a").result()

    assert entry is not None
    assert (entry.number, entry.new, entry.state, entry.attempts) == (number, sent, State.PENDING, 0)
    assert journal.entry(number).result() == entry
    assert journal.find("b").result() is None
    assert journal.entry(number + 1).result() is None


def test_the_same_name_again_gives_the_same_number(journal: SqliteJournal) -> None:
    first, second = accepted(journal, "a", "a")

    assert first == second
    assert journal.backlog().result().entries == 1


def test_entries_of_one_order_run_one_after_the_other(journal: SqliteJournal) -> None:
    first, second = accepted(journal, "a", "b")
    (other,) = accepted(journal, "c", order="p")

    assert leased(journal) == [first, other]
    assert leased(journal) == []
    assert journal.finish(first, HERE, DONE, NOW).result()
    assert leased(journal) == [second]


def test_the_oldest_are_given_out_first_and_no_more_than_asked_for(journal: SqliteJournal) -> None:
    numbers = [journal.accept(new(f"n{i}", f"o{i}")).result() for i in range(5)]

    assert leased(journal, 2) == numbers[:2]
    assert leased(journal, 2) == numbers[2:4]
    assert leased(journal, 0) == []


def test_an_entry_in_a_pause_keeps_those_behind_it_waiting(journal: SqliteJournal) -> None:
    """0008: pending after a pause; none of its order overtakes it."""
    first, _ = accepted(journal, "a", "b")
    leased(journal)
    journal.finish(first, HERE, Outcome(State.PENDING, None, 1, "answered 500", 5.0), NOW).result()

    assert leased(journal, now=NOW + 4.9) == []
    assert leased(journal, now=NOW + 5.0) == [first]
    entry = journal.entry(first).result()
    assert entry is not None
    assert (entry.attempts, entry.cause, entry.state) == (1, "answered 500", State.RUNNING)


def test_a_finished_entry_keeps_its_answer(journal: SqliteJournal) -> None:
    (number,) = accepted(journal, "a")
    leased(journal)
    journal.finish(number, HERE, DONE, NOW + 1).result()

    entry = journal.find("a").result()

    assert entry is not None
    assert (entry.state, entry.answer, entry.finished_at) == (State.DONE, DONE.answer, NOW + 1)
    assert entry.holder is None


def test_a_lease_that_ran_out_is_given_to_another_and_its_result_changes_nothing(
    journal: SqliteJournal,
) -> None:
    (number,) = accepted(journal, "a")
    leased(journal, holder=THERE)

    assert leased(journal, now=NOW + 14.9) == []
    assert leased(journal, now=NOW + 15) == [number]
    assert not journal.finish(number, THERE, DONE, NOW + 15).result()
    assert not journal.finish(number, HERE, DONE, NOW + 30).result()
    assert journal.finish(number, HERE, DONE, NOW + 29).result()
    assert not journal.finish(number, HERE, DONE, NOW + 29).result()


def test_renewing_prolongs_what_is_held_and_tells_what_is_not(journal: SqliteJournal) -> None:
    first, _ = accepted(journal, "a", "b")
    leased(journal)

    assert journal.renew([first, first + 1, 99], HERE, NOW + 100).result() == [first]
    assert journal.renew([first], THERE, NOW + 100).result() == []
    assert leased(journal, holder=THERE, now=NOW + 99) == []
    assert leased(journal, holder=THERE, now=NOW + 100) == [first]


@pytest.mark.parametrize(
    "gone",
    [
        Holder("x", HERE.host, HERE.pid, HERE.started_at),
        Holder("x", HERE.host, os.getppid(), 5.0),
        Holder("x", HERE.host, 2**22 + 1, 5.0),
    ],
    ids=["another incarnation of our process", "another process of that number", "no such process"],
)
def test_on_this_machine_a_dead_holder_is_seen_at_once(journal: SqliteJournal, gone: Holder) -> None:
    (number,) = accepted(journal, "a")
    leased(journal, holder=gone)

    assert leased(journal) == [number]


def test_a_living_holder_keeps_its_lease(journal: SqliteJournal) -> None:
    accepted(journal, "a")
    parent = Holder("x", HERE.host, os.getppid(), psutil.Process(os.getppid()).create_time())
    leased(journal, holder=parent)

    assert leased(journal) == []


def test_a_retried_entry_starts_from_the_beginning_in_its_old_place(journal: SqliteJournal) -> None:
    """JRN-3: dead entries are listed, retried or dropped."""
    first, second, third = accepted(journal, "a", "b", "c")
    leased(journal)
    journal.finish(first, HERE, Outcome(State.DEAD, Answer(500, (), b"why"), 3, "answered 500"), NOW).result()
    assert leased(journal) == [second]

    assert journal.retry(first).result()
    assert not journal.retry(first).result()
    assert not journal.retry(second).result()
    assert leased(journal) == []  # the second one runs
    journal.finish(second, HERE, DONE, NOW).result()

    assert leased(journal) == [first]
    entry = journal.entry(first).result()
    assert entry is not None
    assert (entry.attempts, entry.answer, entry.finished_at) == (0, None, None)
    assert entry.cause == "answered 500"
    journal.finish(first, HERE, DONE, NOW).result()
    assert leased(journal) == [third]


def test_dropping_lets_those_behind_go(journal: SqliteJournal) -> None:
    first, second = accepted(journal, "a", "b")

    assert journal.drop(first).result()
    assert not journal.drop(first).result()
    assert leased(journal) == [second]
    assert not journal.drop(second).result()


def test_a_number_is_never_given_twice(journal: SqliteJournal) -> None:
    (first,) = accepted(journal, "a")
    journal.drop(first).result()

    assert accepted(journal, "a") == [first + 1]


def test_pruning_removes_what_was_done_or_failed_long_ago(journal: SqliteJournal) -> None:
    futures = [journal.accept(new(f"n{i}", f"o{i}")) for i in range(500)]
    dead, late, *numbers = [future.result() for future in futures]
    leased(journal, 500)
    outcomes = DONE, Outcome(State.FAILED, Answer(404))
    ended = [journal.finish(number, HERE, outcomes[number % 2], NOW) for number in numbers]
    ended.append(journal.finish(dead, HERE, Outcome(State.DEAD), NOW))
    ended.append(journal.finish(late, HERE, DONE, NOW + 10))

    assert all(one.result() for one in ended)
    assert journal.prune(NOW).result() == 0
    assert journal.prune(NOW + 10).result() == 498
    assert [entry.number for entry in journal.listed(None, 10).result()] == [dead, late]


def test_listing_goes_on_where_it_ended(journal: SqliteJournal) -> None:
    numbers = accepted(journal, "a", "b", "c")
    leased(journal)

    def listed(state: State | None, most: int, after: int = 0) -> list[int]:
        return [entry.number for entry in journal.listed(state, most, after).result()]

    assert listed(None, 2) == numbers[:2]
    assert listed(None, 2, numbers[1]) == numbers[2:]
    assert listed(State.PENDING, 9) == numbers[1:]
    assert listed(State.RUNNING, 9) == numbers[:1]
    assert listed(State.DEAD, 9) == []


def test_the_backlog_counts_what_waits_and_what_is_stored(journal: SqliteJournal) -> None:
    """JRN-4: backlog and age."""
    empty = journal.backlog().result()
    journal.accept(new("a", at=NOW + 3)).result()
    journal.accept(new("b", "p", at=NOW)).result()
    size = new("a").size

    assert (empty.entries, empty.stored_bytes, empty.oldest_at) == (0, 0, None)
    (first, second) = leased(journal)
    journal.finish(first, HERE, DONE, NOW).result()
    states = {"pending": 0, "running": 1, "done": 1, "failed": 0, "dead": 0}
    assert journal.backlog().result() == Backlog(1, 2 * size + 6, NOW, states)
    journal.drop(first).result()
    assert journal.backlog().result().stored_bytes == size
    assert second


def test_what_was_leased_and_finished_is_there_after_reopening(tmp_path: Path) -> None:
    journal = open_sqlite(tmp_path, max_bytes=1_000_000)
    first, second = accepted(journal, "a", "b")
    leased(journal)
    journal.finish(first, HERE, DONE, NOW).result()
    before = journal.listed(None, 10).result(), journal.backlog().result()
    journal.close()

    journal = open_sqlite(tmp_path, max_bytes=1_000_000)

    assert (journal.listed(None, 10).result(), journal.backlog().result()) == before
    assert leased(journal) == [second]
    journal.close()


def test_a_journal_of_an_earlier_release_is_completed(tmp_path: Path) -> None:
    """It had no table of interruptions; who opens it first adds it."""
    journal = open_sqlite(tmp_path, max_bytes=1_000_000)
    (number,) = accepted(journal, "a")
    leased(journal)
    journal.close()
    with sqlite3.connect(journal.place) as other:
        other.execute("DROP TABLE interruptions")
    other.close()

    several = [open_sqlite(tmp_path, max_bytes=1_000_000) for _ in range(2)]

    assert leased(several[1], holder=THERE, now=NOW + 15) == [number]
    found = several[0].entry(number).result()
    assert found is not None
    assert found.interruptions == 1
    for one in several:
        one.close()


def test_two_journals_on_one_file_never_give_out_the_same(tmp_path: Path) -> None:
    """JRN-5: many processes share it."""
    one, two = (open_sqlite(tmp_path, max_bytes=1_000_000) for _ in range(2))
    numbers = [one.accept(new(f"n{i}", f"o{i}")).result() for i in range(6)]

    assert leased(one, 2) + leased(two, 2, THERE) + leased(one) == numbers
    assert two.find("n3").result() == one.find("n3").result()
    one.close()
    assert accepted(two, "z") == [7]
    two.close()


def test_a_request_that_was_damaged_on_disk_never_runs(journal: SqliteJournal) -> None:
    first, second = accepted(journal, "a", "b")
    with sqlite3.connect(journal.place) as other:
        other.execute("UPDATE requests SET content = replace(content, '{', '[') WHERE number = ?", (first,))
        other.execute("UPDATE requests SET content = zeroblob(20) WHERE number = ?", (first,))
    other.close()

    assert leased(journal) == [second]
    (dead,) = journal.listed(State.DEAD, 10).result()
    assert dead.number == first
    assert "damaged" in dead.cause
    assert journal.drop(first).result()


def test_no_question_looks_at_more_rows_than_it_gives_back_or_changes(journal: SqliteJournal) -> None:
    """JRN-4: lease and backlog take the same time however many entries wait."""
    asked: list[str] = []
    accepted(journal, "a", "b", "c")
    journal._connection.set_trace_callback(asked.append)
    accepted(journal, "d")
    leased(journal, 4)
    leased(journal, 4, THERE, NOW + 20)
    leased(journal, 4, Holder("x", THERE.host, THERE.pid, THERE.started_at), NOW + 21)
    journal.finish(1, Holder("x", THERE.host, THERE.pid, THERE.started_at), DONE, NOW + 22).result()
    journal.backlog().result()
    journal.listed(State.PENDING, 5).result()
    journal.find("b").result()
    journal.drop(2).result()
    journal.prune(NOW + 100).result()
    journal._connection.set_trace_callback(None)
    with sqlite3.connect(journal.place) as other:
        for question in {one for one in asked if one.startswith(("SELECT", "UPDATE", "DELETE"))}:
            plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {question}")]

            assert not any("TEMP B-TREE" in step for step in plan), question
            assert not any(step.startswith("SCAN") and "tallies" not in step for step in plan), question
            assert not any("by_state (state=?)" in step and "ORDER BY" not in question for step in plan), (
                question
            )
    other.close()


def test_a_damaged_one_is_listed_and_not_found(journal: SqliteJournal) -> None:
    (number,) = accepted(journal, "a")
    with sqlite3.connect(journal.place) as other:
        other.execute("UPDATE requests SET key = 'another'")
    other.close()

    (entry,) = journal.listed(None, 10).result()

    assert (entry.number, entry.new.name, entry.new.body) == (number, "a", b"")
    assert "not what was written" in entry.cause
    with pytest.raises(JournalError, match="not what was written"):
        journal.find("a").result()


def test_a_log_that_is_left_over_is_not_taken_for_ours(tmp_path: Path) -> None:
    """The journal was removed, what stood beside it was not: SQLite would write that into the new one."""
    journal = open_sqlite(tmp_path, max_bytes=1_000_000)
    accepted(journal, "a", "b")
    strange = (tmp_path / "journal.sqlite3-wal").read_bytes()
    journal.close()
    (tmp_path / "journal.sqlite3").unlink()
    (tmp_path / "journal.sqlite3-wal").write_bytes(strange)
    told: list[Event] = []
    bus = Bus()
    bus.subscribe(told.append)

    journal = open_sqlite(tmp_path, max_bytes=1_000_000, bus=bus)

    (damaged,) = told
    assert isinstance(damaged, JournalDamaged)
    assert Path(f"{damaged.kept_at}-wal").read_bytes() == strange
    assert journal.backlog().result().entries == 0
    journal.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")

    with pytest.raises(JournalUnusableError, match="HOLDFAST_STATE_DIR"):
        open_sqlite(tmp_path / "state", max_bytes=1_000_000)
