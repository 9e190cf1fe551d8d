"""Each store of the journal does what a list would do that is gone through from its beginning."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from journaled import ANNA, BERT, GIVEN, ROOM, a_new, numbers

from holdfast.drill.redis import Redis
from holdfast.drill.servers import real_server
from holdfast.work.entry import Holder, Outcome, State
from holdfast.work.journal import Journal
from holdfast.work.journal_redis import open_redis
from holdfast.work.journal_sqlite import open_sqlite

SETTINGS = settings(max_examples=100, stateful_step_count=40, deadline=None, print_blob=True)
UNFINISHED = (State.PENDING, State.RUNNING)
HOLDERS = st.sampled_from([ANNA, BERT])


@dataclass
class Line:
    order: str
    state: State = State.PENDING
    not_before: float = 0.0
    until: float = 0.0
    holder: Holder | None = None
    attempts: int = 0
    interruptions: int = 0
    finished_at: float = 0.0

    def let_go(self, state: State) -> None:
        self.state, self.holder, self.until = state, None, 0.0


class JournalMachine(RuleBasedStateMachine):
    """A journal beside a list of lines; time only goes forward."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal
        self.lines: dict[int, Line] = {}
        self.now = 1000.0
        self.accepted = 0

    def teardown(self) -> None:
        self.journal.close()

    # ---- what a list would do -------------------------------------------------------------------

    def free(self, asking: Holder) -> list[int]:
        """What may be leased now, oldest first. What somebody else held too long was interrupted."""
        for line in self.lines.values():
            if line.state is State.RUNNING and line.until <= self.now:
                line.interruptions += line.holder != asking
                line.let_go(State.PENDING)
        unfinished = sorted(n for n, line in self.lines.items() if line.state in UNFINISHED)
        busy = {line.order for line in self.lines.values() if line.state is State.RUNNING}
        first: dict[str, int] = {}
        for number in unfinished:
            first.setdefault(self.lines[number].order, number)
        heads = (number for order, number in first.items() if order not in busy)
        return sorted(number for number in heads if self.lines[number].not_before <= self.now)

    def some(self, data: st.DataObject, *states: State) -> int:
        """Any number, but mostly of a line in one of *states*."""
        fitting = sorted(number for number, line in self.lines.items() if line.state in states)
        mostly = st.sampled_from(fitting) if fitting else st.nothing()
        return data.draw(mostly | mostly | st.sampled_from(sorted(self.lines)), label="number")

    # ---- what is asked --------------------------------------------------------------------------

    @initialize(orders=st.text("ab", min_size=3, max_size=8))
    def accept_some(self, orders: str) -> None:
        for order in orders:
            self.accept(order)

    @rule(order=st.sampled_from("ab"))
    def accept(self, order: str) -> None:
        self.accepted += 1
        number = self.journal.accept(a_new(str(self.accepted), order=order)).result()
        assert number not in self.lines
        self.lines[number] = Line(order)

    @rule(most=st.sampled_from([1, 9]), holder=HOLDERS, lasts=st.sampled_from([5.0, 50.0]))
    def lease(self, most: int, holder: Holder, lasts: float) -> None:
        expected = self.free(holder)[:most]
        until = self.now + lasts

        assert numbers(self.journal.lease(most, holder, until, self.now).result()) == expected
        for number in expected:
            line = self.lines[number]
            line.state, line.holder, line.until = State.RUNNING, holder, until

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), holder=HOLDERS)
    def renew(self, data: st.DataObject, holder: Holder) -> None:
        number = self.some(data, State.RUNNING)
        line = self.lines[number]
        held = line.state is State.RUNNING and line.holder == holder
        until = max(line.until, self.now + 20)

        assert self.journal.renew([number], holder, until).result() == ([number] if held else [])
        if held:
            line.until = until

    @precondition(lambda self: self.lines)
    @rule(
        data=st.data(),
        holder=HOLDERS,
        state=st.sampled_from([State.FAILED, State.DEAD, State.PENDING, State.DONE]),
        delay_s=st.sampled_from([0.0, 3.0, 30.0]),
        interruptions=st.sampled_from([0, 0, 2]),
    )
    def finish(
        self, data: st.DataObject, holder: Holder, state: State, delay_s: float, interruptions: int
    ) -> None:
        number = self.some(data, State.RUNNING)
        line = self.lines[number]
        holder = data.draw(st.sampled_from([line.holder or holder, holder]), label="by")
        held = line.state is State.RUNNING and line.holder == holder and line.until > self.now
        answer = GIVEN if state is State.DONE else None
        pause = delay_s if state is State.PENDING else 0.0
        outcome = Outcome(state, answer, line.attempts + 1, "why", pause, interruptions)

        assert self.journal.finish(number, holder, outcome, self.now).result() == held
        if held:
            line.let_go(state)
            line.attempts += 1
            line.interruptions = interruptions
            line.not_before = self.now + delay_s
            line.finished_at = self.now

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        number = self.some(data, State.FAILED, State.DEAD)
        line = self.lines[number]
        may = line.state in (State.FAILED, State.DEAD)

        assert self.journal.retry(number).result() == may
        if may:
            self.lines[number] = Line(line.order)

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        number = self.some(data, State.PENDING)
        may = self.lines[number].state is not State.RUNNING

        assert self.journal.drop(number).result() == may
        if may:
            del self.lines[number]

    @rule(seconds=st.sampled_from([1.0, 4.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(ago=st.sampled_from([0.0, 10.0]))
    def prune(self, ago: float) -> None:
        before = self.now - ago
        old = {
            number
            for number, line in self.lines.items()
            if line.state in (State.DONE, State.FAILED) and line.finished_at < before
        }

        assert self.journal.prune(before).result() == len(old)
        for number in old:
            del self.lines[number]

    # ---- what always holds ----------------------------------------------------------------------

    @invariant()
    def all_is_there(self) -> None:
        stored = {entry.number: entry for entry in self.journal.listed(None, 1000).result()}
        assert list(stored) == sorted(self.lines)
        for number, line in self.lines.items():
            entry = stored[number]
            over = line.state is State.RUNNING and line.until <= self.now  # either is right
            assert entry.state is line.state or over
            assert entry.attempts == line.attempts
            assert entry.interruptions == line.interruptions
            assert (entry.answer == GIVEN) == (line.state is State.DONE)
        backlog = self.journal.backlog().result()
        assert backlog.entries == sum(line.state in UNFINISHED for line in self.lines.values())
        assert sum(backlog.by_state.values()) == len(self.lines)
        if not self.lines:
            assert backlog.stored_bytes == 0


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    with real_server("redis") as server:
        yield server


def test_redis_does_what_a_list_would(redis_server: Redis) -> None:
    """JRN-2, JRN-3: order, exclusivity and leases."""

    def machine() -> JournalMachine:
        return JournalMachine(open_redis(redis_server.url(), max_bytes=ROOM, journal=secrets.token_hex(8)))

    run_state_machine_as_test(machine, settings=SETTINGS)


def test_sqlite_does_what_a_list_would() -> None:
    """JRN-2, JRN-3: order, exclusivity and leases."""
    with ExitStack() as stack:

        def machine() -> JournalMachine:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            return JournalMachine(open_sqlite(folder, max_bytes=ROOM))

        run_state_machine_as_test(machine, settings=SETTINGS)
