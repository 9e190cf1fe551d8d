"""The SQLite journal under random schedules, two on one real file (JRN-2, JRN-3; properties 7, 16, 20).

A model of ten lines says what may be leased; the file has to say the same after each step, whoever was
killed, whatever ran out and however often it was opened anew.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.work.entry import (
    Answer,
    Entry,
    Holder,
    New,
    Outcome,
    State,
    after_absence,
    after_answer,
    after_failure,
    given_back,
)
from holdfast.work.journal_sqlite import SqliteJournal, open_sqlite

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]  # 500 files, on a machine that may be busy
MEMORY = Path("/dev/shm")  # a file like any other, that is synced at once
MOST = 3  # attempts
LEASE_S = 15.0
UNFINISHED = (State.PENDING, State.RUNNING)
WHICH = st.integers(0, 1)
ORDERS = st.sampled_from("xxxyz")
ENDS = st.sampled_from([200, 404, 404, 429, 500, "raised", "away", "given back"])


@dataclass
class Known:
    """What the model knows of an entry."""

    new: New
    state: State = State.PENDING
    attempts: int = 0
    interruptions: int = 0
    not_before: float = 0.0
    holder: str = ""
    until: float = 0.0
    finished_at: float = 0.0


class JournalSchedule(RuleBasedStateMachine):
    """Two processes, two workers in each, and time."""

    @initialize(orders=st.lists(ORDERS, min_size=3, max_size=8))
    def begin(self, orders: list[str]) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.killed: set[str] = set()
        self.dead = patch(
            "holdfast.work.journal_sqlite_steps.is_gone", lambda holder, _: holder.incarnation in self.killed
        )
        self.dead.start()
        self.journals = [self.open(), self.open()]
        self.known: dict[int, Known] = {}
        self.held: list[tuple[Holder, Entry]] = []  # all that was ever given out
        self.workers = [self.worker(n) for n in range(3)]
        self.now = 1000.0
        self.names = 0
        self.accept(0, orders)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for journal in self.journals:
                journal.close()
            self.dead.stop()
            self.folder.cleanup()

    def open(self) -> SqliteJournal:
        return open_sqlite(Path(self.folder.name), max_bytes=2**30)

    def worker(self, number: int) -> Holder:
        return Holder(f"{number}-{len(self.killed)}", "here", 2**22 + number, 5.0)

    def some(self, order: str) -> New:
        self.names += 1
        name = f"n{self.names}"
        return New(name, f"k{name}", order, "POST", "/", (), name.encode() * 700, None, self.now)

    # ---- what is asked ----------------------------------------------------------------------------

    @rule(which=WHICH, orders=st.lists(ORDERS, min_size=1, max_size=4))
    def accept(self, which: int, orders: list[str]) -> None:
        asked = [self.some(order) for order in orders]
        futures = [self.journals[which].accept(new) for new in asked]
        for new, future in zip(asked, futures, strict=True):
            number = future.result()
            assert number > max(self.known, default=0)
            self.known[number] = Known(new)

    @precondition(lambda self: self.known)
    @rule(which=WHICH, pick=st.integers(0, 1000))
    def accept_again(self, which: int, pick: int) -> None:
        number = self.picked(pick)

        assert self.journals[which].accept(self.known[number].new).result() == number

    @rule(which=WHICH, worker=st.integers(0, 2), most=st.integers(0, 3))
    def lease(self, which: int, worker: int, most: int) -> None:
        holder = self.workers[worker]
        expected = self.free(holder.incarnation)[:most]

        leased = self.journals[which].lease(most, holder, self.now + LEASE_S, self.now).result()

        assert [entry.number for entry in leased] == expected
        for entry in leased:
            known = self.known[entry.number]
            assert (entry.new, entry.attempts) == (known.new, known.attempts)
            assert entry.interruptions == known.interruptions
            known.state, known.holder, known.until = State.RUNNING, holder.incarnation, self.now + LEASE_S
            self.held.append((holder, entry))

    def free(self, asking: str) -> list[int]:
        """The oldest unfinished of each order of which none runs, unless it is in a pause.

        What somebody else held and holds no more was interrupted.
        """
        for known in self.known.values():
            gone = known.holder in self.killed or known.until <= self.now
            if known.state is State.RUNNING and gone:
                known.interruptions += known.holder != asking
                known.state, known.holder, known.until = State.PENDING, "", 0.0
        running = {one.new.order for one in self.known.values() if one.state is State.RUNNING}
        oldest: dict[str, int] = {}
        for number in sorted(self.known):
            if self.known[number].state is State.PENDING:
                oldest.setdefault(self.known[number].new.order, number)
        return sorted(
            number
            for order, number in oldest.items()
            if order not in running and self.known[number].not_before <= self.now
        )

    @precondition(lambda self: self.held)
    @rule(which=WHICH, pick=st.integers(0, 1000), ends=ENDS)
    def finish(self, which: int, pick: int, ends: int | str) -> None:
        """Somebody who was given an entry once comes back with what became of it: late, or in time."""
        holder, entry = self.held[-1 - pick % len(self.held)]
        outcome = self.outcome(entry, ends)
        known = self.known.get(entry.number)
        ours = known is not None and known.state is State.RUNNING and known.holder == holder.incarnation
        ours = ours and known is not None and known.until > self.now

        assert self.journals[which].finish(entry.number, holder, outcome, self.now).result() == ours
        if ours and known is not None:
            known.state, known.attempts, known.holder, known.until = outcome.state, outcome.attempts, "", 0.0
            known.interruptions = outcome.interruptions
            if outcome.state is State.PENDING:
                known.not_before = self.now + outcome.delay_s
            else:
                known.finished_at = self.now

    @rule(which=WHICH, worker=st.integers(0, 2), ends=ENDS, late=st.sampled_from([0.0, 0.0, 5.0, LEASE_S]))
    def one_runs(self, which: int, worker: int, ends: int | str, late: float) -> None:
        """Leased and finished, in time or too late: by chance alone that is rare."""
        self.lease(which, worker, 1)
        self.now += late
        if self.held:
            self.finish(1 - which, 0, ends)

    @rule(which=WHICH, worker=st.integers(0, 2))
    def what_failed_is_retried_while_others_run(self, which: int, worker: int) -> None:
        self.lease(which, worker, 3)
        for number in [n for n, one in self.known.items() if one.state in (State.FAILED, State.DEAD)]:
            self.retry(which, sorted(self.known).index(number))

    def outcome(self, entry: Entry, ends: int | str) -> Outcome:
        if isinstance(ends, int):
            return after_answer(entry, Answer(ends, (), b"answer"), MOST, 5.0)
        if ends == "given back":
            return given_back(entry)
        return after_absence(entry, 2.0) if ends == "away" else after_failure(entry, "ValueError", MOST, 5.0)

    @precondition(lambda self: self.held)
    @rule(which=WHICH, worker=st.integers(0, 2))
    def renew(self, which: int, worker: int) -> None:
        holder = self.workers[worker]
        numbers = sorted({entry.number for _, entry in self.held})
        expected = [
            number
            for number in numbers
            if number in self.known and self.known[number].holder == holder.incarnation
        ]

        assert self.journals[which].renew(numbers, holder, self.now + LEASE_S).result() == expected
        for number in expected:
            self.known[number].until = self.now + LEASE_S

    @precondition(lambda self: self.known)
    @rule(which=WHICH, pick=st.integers(0, 1000))
    def retry(self, which: int, pick: int) -> None:
        number = self.picked(pick)
        known = self.known[number]
        expected = known.state in (State.FAILED, State.DEAD)

        assert self.journals[which].retry(number).result() == expected
        if expected:
            self.known[number] = Known(known.new)

    @precondition(lambda self: self.known)
    @rule(which=WHICH, pick=st.integers(0, 1000))
    def drop(self, which: int, pick: int) -> None:
        number = self.picked(pick)
        expected = self.known[number].state is not State.RUNNING

        assert self.journals[which].drop(number).result() == expected
        if expected:
            del self.known[number]

    @rule(which=WHICH, age=st.sampled_from([0.0, 10.0, 100.0]))
    def prune(self, which: int, age: float) -> None:
        before = self.now - age
        old = [
            number
            for number, one in self.known.items()
            if one.state in (State.DONE, State.FAILED) and one.finished_at < before
        ]

        assert self.journals[which].prune(before).result() == len(old)
        for number in old:
            del self.known[number]

    def picked(self, pick: int) -> int:
        return sorted(self.known)[pick % len(self.known)]

    # ---- what befalls it --------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, LEASE_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=st.integers(0, 2))
    def kill_a_worker(self, number: int) -> None:
        self.killed.add(self.workers[number].incarnation)
        self.workers[number] = self.worker(number)

    @rule(which=WHICH)
    def reopen(self, which: int) -> None:
        self.journals[which].close()
        self.journals[which] = self.open()

    # ---- what always holds ------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_and_nothing_is_there_that_was_not_accepted(self) -> None:
        """Property 16."""
        if not hasattr(self, "known"):
            return
        self.stored = self.journals[0].listed(None, 100_000).result()

        assert {one.number: one.new for one in self.stored} == {n: one.new for n, one in self.known.items()}
        assert {one.number: one.state for one in self.stored} == {
            n: one.state for n, one in self.known.items()
        }

    @invariant()
    def at_most_one_of_an_order_runs(self) -> None:
        if hasattr(self, "stored"):
            running = Counter(entry.new.order for entry in self.stored if entry.state is State.RUNNING)

            assert all(count == 1 for count in running.values())

    @invariant()
    def attempts_never_exceed_the_maximum(self) -> None:
        """Property 7."""
        if hasattr(self, "stored"):
            assert all(entry.attempts <= MOST for entry in self.stored)
            assert all((entry.attempts == MOST) == (entry.state is State.DEAD) for entry in self.stored)

    @invariant()
    def the_backlog_is_what_a_recount_says(self) -> None:
        if not hasattr(self, "stored"):
            return
        told = self.journals[1].backlog().result()
        waiting = [entry for entry in self.stored if entry.state in UNFINISHED]
        sizes = sum(one.new.size + (len(one.answer.body) if one.answer else 0) for one in self.stored)

        assert told.entries == len(waiting)
        assert told.stored_bytes == sizes
        assert told.oldest_at == min((entry.new.journaled_at for entry in waiting), default=None)
        assert Counter(told.by_state) == Counter(entry.state.value for entry in self.stored)

    @invariant()
    def what_waits_is_leased_in_the_end(self) -> None:
        """Property 20: no order starves; the turn of each stands with its oldest, or with what runs of it."""
        if not hasattr(self, "stored"):
            return
        waiting = {entry.new.order for entry in self.stored if entry.state in UNFINISHED}
        turns = self.journals[0]._connection.execute(
            "SELECT DISTINCT ordering FROM standings WHERE turn IS NOT NULL"
        )

        assert {order for (order,) in turns} == waiting


TestJournalSchedule = JournalSchedule.TestCase
TestJournalSchedule.settings = settings(
    max_examples=500,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
