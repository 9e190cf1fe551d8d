"""The SQLite journal's thread: what goes together, what is undone, what is bounded (JRN-1, JRN-4)."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest
from journal_asked import DONE, HERE, NOW, accepted, new

from holdfast.work.entry import New
from holdfast.work.journal import JournalError, JournalFullError
from holdfast.work.journal_sqlite import SqliteJournal, open_sqlite


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = open_sqlite(tmp_path / "state", max_bytes=10_000_000)
    yield journal
    journal.close()


def test_its_bound_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    """JRN-4."""
    size = new("a").size
    journal = open_sqlite(tmp_path, max_bytes=2 * size)
    first, _ = accepted(journal, "a", "b")

    with pytest.raises(JournalFullError, match="HOLDFAST_JOURNAL_MAX_BYTES") as refused:
        journal.accept(new("c")).result()
    assert str(tmp_path / "journal.sqlite3") in str(refused.value)
    assert str(2 * size) in str(refused.value)
    assert accepted(journal, "a") == [first]  # it is there already
    journal.drop(first).result()
    assert accepted(journal, "c")
    journal.close()


def test_one_that_is_refused_does_not_hurt_those_it_came_with(tmp_path: Path) -> None:
    journal = open_sqlite(tmp_path, max_bytes=3000)
    with _held_up(journal):
        futures = [journal.accept(new(f"n{i}", body=b"x" * (5000 if i == 1 else 10))) for i in range(4)]
    wait(futures, 10)

    assert [type(future.exception()) for future in futures] == [
        type(None),
        JournalFullError,
        type(None),
        type(None),
    ]
    assert journal.backlog().result().entries == 3
    journal.close()


class _held_up:
    """The journal's thread waits while the block runs, so that all that is asked in it goes together."""

    def __init__(self, journal: SqliteJournal) -> None:
        self.go = threading.Event()
        blocked: Future[int] = journal.prune(0.0)
        blocked.add_done_callback(lambda _: self.go.wait(10))

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self.go.set()


def test_what_was_cancelled_before_its_turn_is_not_accepted(journal: SqliteJournal) -> None:
    with _held_up(journal):
        futures = [journal.accept(new(f"n{i}")) for i in range(3)]
        futures[1].cancel()
    wait(futures, 10)

    assert journal.find("n1").result() is None
    assert journal.backlog().result().entries == 2


def test_everything_asked_is_done_before_it_closes_and_nothing_after(tmp_path: Path) -> None:
    journal = open_sqlite(tmp_path, max_bytes=1_000_000)
    futures = [journal.accept(new(f"n{i}")) for i in range(50)]
    journal.close()
    journal.close()

    assert [future.result(0) for future in futures] == list(range(1, 51))
    with pytest.raises(JournalError, match="closed"):
        journal.backlog().result(0)


def test_a_file_that_was_removed_is_not_written_to(journal: SqliteJournal) -> None:
    Path(journal.place).unlink()

    with pytest.raises(JournalError, match="removed or replaced"):
        journal.accept(new("a")).result()


def test_what_fails_before_whoever_asked_goes_on_is_told_once(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JRN-4: the thread is quicker than the one that asks."""
    queue: Any = journal._queue

    class Quick:
        def put(self, call: Any) -> None:
            queue.put(call)
            wait([call.future], 30)

        def __getattr__(self, name: str) -> Any:
            return getattr(queue, name)  # the thread's side

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_queue", Quick())
        Path(journal.place).unlink()
        accepting = journal.accept(new("a"))

    with pytest.raises(JournalError, match="removed or replaced"):
        accepting.result()


def test_room_is_given_back_and_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    """JRN-4: what is bounded is what is stored; the files follow it."""
    journal = open_sqlite(tmp_path, max_bytes=100_000_000)
    largest = 0
    for turn in range(3):
        futures = [journal.accept(new(f"{turn}-{i}", f"o{i}", b"x" * 20_000)) for i in range(1000)]
        wait(futures, 30)
        for entry in journal.lease(1000, HERE, NOW + 15, NOW).result():
            journal.finish(entry.number, HERE, DONE, NOW)
        assert journal.prune(NOW + 1).result() == 1000
        largest = max(largest, (tmp_path / "journal.sqlite3").stat().st_size)
    log = (tmp_path / "journal.sqlite3-wal").stat().st_size
    journal.close()

    assert largest < 1.5 * 1000 * 20_500
    assert log < 3 * 16 * 2**20
    assert (tmp_path / "journal.sqlite3").stat().st_size < 8 * 2**20
    assert not (tmp_path / "journal.sqlite3-wal").exists()


def test_after_a_fork_it_has_to_be_opened_anew(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)

    with pytest.raises(JournalError, match="before a fork"):
        journal.accept(new("a")).result()


def test_another_process_that_does_not_let_go_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.work.journal_sqlite.PATIENCE_S", 0.05)
    journal = open_sqlite(tmp_path, max_bytes=1_000_000)
    with sqlite3.connect(journal.place) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(JournalError, match="locked by another process"):
            journal.accept(new("a")).result()
        other.rollback()
    other.close()
    assert accepted(journal, "a") == [1]
    journal.close()


def test_a_transaction_that_is_lost_is_done_again_one_by_one(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite may roll everything back when a disk is full: nobody is told what was not done."""
    real = journal._steps.accept

    def fails(asked: New) -> int:
        if asked.name == "n2":
            journal._connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return real(asked)

    monkeypatch.setattr(journal._steps, "accept", fails)
    with _held_up(journal):
        futures = [journal.accept(new(f"n{i}", f"o{i}")) for i in range(4)]
    wait(futures, 10)

    assert [future.exception() is None for future in futures] == [True, True, False, True]
    assert [entry.new.name for entry in journal.listed(None, 10).result()] == ["n0", "n1", "n3"]
    with pytest.raises(JournalError, match="database or disk is full"):
        futures[2].result()


def test_a_fault_of_ours_reaches_whoever_asked_and_nobody_else(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal._steps, "prune", lambda before: 1 // 0)
    pruned, number = journal.prune(0.0), journal.accept(new("a"))

    with pytest.raises(ZeroDivisionError):
        pruned.result(10)
    assert number.result(10) == 1
