"""The worker on the real file: order, a killed holder, stopping and going on (JRN-2, JRN-3, SHD-1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from journal_words import a_new, created

from holdfast.events import Bus, Event
from holdfast.work.drain import Drain, Rules
from holdfast.work.entry import Answer, Backlog, Entry, Holder, State
from holdfast.work.events import JournalDrained
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal_sqlite import SqliteJournal, open_sqlite


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    opened = open_sqlite(tmp_path, max_bytes=1 << 24)
    yield opened
    await asyncio.to_thread(opened.close)


async def accepts(journal: SqliteJournal, *orders: str) -> None:
    for place, order in enumerate(orders):
        new = a_new(f"{order}-{place}", order=order, journaled_at=time.time())
        await asyncio.wrap_future(journal.accept(new))


async def drained(told: list[Event]) -> None:
    deadline = time.monotonic() + 30
    while not any(isinstance(one, JournalDrained) for one in told):
        assert time.monotonic() < deadline, "it was never drained"
        await asyncio.sleep(0.005)


def a_drain(
    journal: SqliteJournal, run: Callable[[Entry], object], **rules: object
) -> tuple[Drain, list[Event]]:
    told: list[Event] = []
    bus = Bus()
    bus.subscribe(told.append)
    return Drain(journal, run, lambda: True, Rules(**rules), bus=bus), told  # type: ignore[arg-type]


async def counts(journal: SqliteJournal) -> dict[str, int]:
    backlog: Backlog = await asyncio.wrap_future(journal.backlog())
    return {state: count for state, count in backlog.by_state.items() if count}


async def test_orders_are_kept_and_everything_ends(journal: SqliteJournal) -> None:
    ran: list[tuple[str, int]] = []

    async def runs(entry: Entry) -> Answer:
        await asyncio.sleep(0)
        ran.append((entry.new.order, entry.number))
        return created()

    await accepts(journal, *(["anna", "bert", "carl"] * 20))
    drain, told = a_drain(journal, runs)
    drain.start()
    await drained(told)
    await drain.stop(1)

    assert await counts(journal) == {"done": 60}
    for order in ("anna", "bert", "carl"):
        numbers = [number for name, number in ran if name == order]
        assert numbers == sorted(numbers)
        assert len(numbers) == 20


async def test_a_poison_operation_is_dead_and_those_behind_it_are_done(journal: SqliteJournal) -> None:
    async def runs(entry: Entry) -> Answer:
        return Answer(500) if entry.number == 1 else created()

    await accepts(journal, "anna", "anna")
    drain, told = a_drain(journal, runs, attempts=2)
    drain.start()
    await drained(told)
    await drain.stop(1)

    assert await counts(journal) == {"done": 1, "dead": 1}


async def test_what_a_dead_process_held_is_run_at_once(journal: SqliteJournal) -> None:
    """JRN-3: its lease would last for a quarter of a minute more."""
    ours = holder_of_this_process()
    gone = Holder("gone", ours.host, 2**22 + 1, 0.0)
    await accepts(journal, "anna")
    now = time.time()
    assert len(await asyncio.wrap_future(journal.lease(1, gone, now + 3600, now))) == 1

    async def runs(entry: Entry) -> Answer:
        return created()

    drain, told = a_drain(journal, runs)
    drain.start()
    await drained(told)
    await drain.stop(1)

    assert await counts(journal) == {"done": 1}


async def test_a_stop_gives_back_and_the_next_worker_goes_on(journal: SqliteJournal) -> None:
    """SHD-1, step 6."""
    begun = asyncio.Event()

    async def hangs(entry: Entry) -> Answer:
        begun.set()
        await asyncio.sleep(3600)
        return created()

    async def runs(entry: Entry) -> Answer:
        return created()

    await accepts(journal, "anna", "anna")
    drain, _ = a_drain(journal, hangs)
    drain.start()
    await begun.wait()
    assert await drain.stop(0.01) == ["POST /orders"]
    first = await asyncio.wrap_future(journal.entry(1))
    assert first is not None
    assert (first.state, first.attempts) == (State.PENDING, 0)

    drain, told = a_drain(journal, runs)
    drain.start()
    await drained(told)
    await drain.stop(1)

    assert await counts(journal) == {"done": 2}


def test_all_workers_of_a_process_are_one_holder() -> None:
    assert holder_of_this_process() is holder_of_this_process()
