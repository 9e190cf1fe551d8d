"""JRN-1, JRN-4: how fast requests are written down and run, with few and with very many waiting.

The peer is the least that keeps the promise: a loop of `write` and `fdatasync` that appends as many
bytes, as many records a sync. Flatness is the rate with 100,000 waiting against that with ten.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks.report import Row, row
from benchmarks.statistic import median, quartiles
from holdfast.work.entry import Answer, Entry, New, Outcome, State
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal_sqlite import SqliteJournal, open_sqlite

WAITING = (10, 1_000, 100_000)
AT_ONCE = 64  # requests that are journaled at the same time
ORDERS = 200  # clients
RUNNING = 4  # entries that run at the same time
SERIAL, GROUPED, DRAINED = 100, 2048, 300  # of one round
ROUNDS = 3
NOW = 1_000_000.0
_BODY = os.urandom(400)
_HEADERS = tuple((f"x-header-{n}".encode(), b"value of a header") for n in range(12))

Found = dict[str, list[float]]
_NUMBERS = itertools.count()


def run(quick: bool = False) -> list[Row]:
    """Entries a second; the disk is the one of the system's temporary folder."""
    levels = WAITING[:2] if quick else WAITING
    found: dict[int, Found] = {waiting: {} for waiting in levels}
    with ExitStack() as stack:
        measures = {waiting: _opened(stack, waiting) for waiting in levels}
        for number in range(2 if quick else ROUNDS + 1):
            for waiting, name in itertools.product(levels, measures[levels[0]]):
                rate = measures[waiting][name]()
                if number:  # the first round warms up
                    found[waiting].setdefault(name, []).append(rate)
    return [*(one for waiting in levels for one in _rows(waiting, found[waiting])), *_flat(found)]


def _opened(stack: ExitStack, waiting: int) -> dict[str, Callable[[], float]]:
    """All measures of a journal in which so many wait, and of their peers on the same disk."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-journal-")))
    journal = open_sqlite(folder, max_bytes=2**32)
    stack.callback(journal.close)
    _fill(journal, waiting)
    file = stack.enter_context((folder / "bare").open("ab", buffering=0))
    return _measures(journal, file.fileno(), waiting)


def _measures(journal: SqliteJournal, bare: int, waiting: int) -> dict[str, Callable[[], float]]:
    return {
        "serial": lambda: _serial(journal),
        "bare serial": lambda: _bare(bare, SERIAL, 1),
        "grouped": lambda: uvloop.run(_grouped(journal)),
        "bare grouped": lambda: _bare(bare, GROUPED, AT_ONCE),
        "drained": lambda: _drained(journal, waiting),
        "backlog": lambda: _asked(journal),
    }


def _fill(journal: SqliteJournal, waiting: int) -> None:
    for future in [journal.accept(_new()) for _ in range(waiting)]:
        future.result()


def _new() -> New:
    number = next(_NUMBERS)
    name = f"{hash((number, 'name')) & (2**64 - 1):064x}"
    order = f"client {number % ORDERS}"
    return New(name, name[:32], order, "POST", "/orders?source=web", _HEADERS, _BODY, "203.0.113.7", NOW)


def _serial(journal: SqliteJournal) -> float:
    began = time.perf_counter()
    for _ in range(SERIAL):
        journal.accept(_new()).result()
    return SERIAL / (time.perf_counter() - began)


async def _grouped(journal: SqliteJournal) -> float:
    async def client() -> None:
        for _ in range(GROUPED // AT_ONCE):
            await asyncio.wrap_future(journal.accept(_new()))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return GROUPED / (time.perf_counter() - began)


def _bare(file: int, records: int, together: int) -> float:
    record = os.urandom(_new().size)
    began = time.perf_counter()
    for _ in range(records // together):
        os.write(file, record * together)
        os.fdatasync(file)
    return records / (time.perf_counter() - began)


def _drained(journal: SqliteJournal, waiting: int) -> float:
    """As the worker does it: what became of some and the lease of the next share one commit.

    Down to *waiting* again, at the most of them: what was accepted meanwhile is run here.
    """
    most = max(journal.backlog().result().entries - waiting, min(waiting, DRAINED))
    holder, until = holder_of_this_process(), NOW + 1000
    began = time.perf_counter()
    done = 0
    leased: list[Entry] = []
    while done < most or leased:
        outcome = Outcome(State.DONE, Answer(201, _HEADERS[:3], _BODY[:100]))
        ended = [journal.finish(entry.number, holder, outcome, NOW) for entry in leased]
        room = RUNNING if done + len(leased) < most else 0
        following = journal.lease(room, holder, until, NOW)
        done += sum(one.result() for one in ended)
        leased = following.result()
    took = time.perf_counter() - began
    _fill(journal, waiting - journal.backlog().result().entries)
    return done / took


def _asked(journal: SqliteJournal) -> float:
    began = time.perf_counter()
    for _ in range(200):
        journal.backlog().result()
    return 200 / (time.perf_counter() - began)


def _rows(waiting: int, found: Found) -> list[Row]:
    there = f"{waiting:,} waiting"
    grouped = f"accepts/s, {AT_ONCE} at once, {there}; peer: write + fdatasync of {AT_ONCE} records each"
    return [
        _row(f"accepts/s, one by one, {there}; peer: write + fdatasync each", found, "serial"),
        _row(grouped, found, "grouped", target="≥ 2000.0 accepts/s"),
        _row(f"entries leased and finished/s, {RUNNING} at a time, {there}", found, "drained"),
        _row(f"backlog asked/s, {there}", found, "backlog"),
    ]


def _row(what: str, found: Found, name: str, target: str | None = None) -> Row:
    ours, bare = found[name], found.get(f"bare {name}")
    peer = None if bare is None else median(bare)
    return row("JRN-1", what, median(ours), peer, target=target, spread=quartiles(ours, 0))


def _flat(found: dict[int, Found]) -> list[Row]:
    few, many = min(found), max(found)
    names = {"grouped": f"accepts/s, {AT_ONCE} at once", "drained": "drain/s", "backlog": "backlog/s"}
    return [
        row(
            "JRN-4",
            f"{told}, {many:,} waiting; peer: {few} waiting",
            median(found[many][name]),
            median(found[few][name]),
            target="≥ 0.5 ×",
        )
        for name, told in names.items()
    ]
