"""PRF-3: what holdfast's hooks add to a query, against SQLAlchemy's cursor events that take a duration.

SQLite in memory answers in microseconds, so that the hooks show. One process, three engines, batches
in turns; the price is the processor time of the thread, less the bare engine's of the same round.
Two units: a query on a connection at hand, and a whole unit of work (checkout, query, rollback, checkin).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import StaticPool

from benchmarks.report import Row, row
from benchmarks.statistic import median, quartiles
from holdfast.context import REQUEST, Request
from holdfast.databases.sqlalchemy import adopt, deactivate

ROUNDS = 60
BATCH = 400
SENTENCE = text("SELECT 1 WHERE :number = 7")
VALUES = {"number": 7}
Work = Callable[[], None]


def run(quick: bool = False) -> list[Row]:
    """Microseconds added to a bare engine, inside a request."""
    deactivate()
    now = time.monotonic()
    request = Request("bench", "GET", "/", now, now + 3600)
    token = REQUEST.set(request)
    try:
        with ExitStack() as stack:
            engines = _engines(stack)
            rows = _query_rows(engines, 8 if quick else ROUNDS, stack)
            rows += _work_rows(engines, 8 if quick else ROUNDS)
    finally:
        REQUEST.reset(token)
    if not request.ledger.sent:
        raise RuntimeError("the hooks saw no statement: the figure would be too good")
    return rows


def _engines(stack: ExitStack) -> dict[str, Engine]:
    engines = {
        name: create_engine("sqlite://", poolclass=StaticPool) for name in ("bare", "holdfast", "events")
    }
    adopt(engines["holdfast"], "bench")
    _listen(engines["events"])
    for engine in engines.values():
        stack.callback(engine.dispose)
    return engines


def _listen(engine: Engine) -> None:
    """The usual way to take a query's duration."""

    def before(connection: Connection, *_: Any) -> None:
        connection.info["began"] = time.monotonic()

    def after(connection: Connection, *_: Any) -> None:
        connection.info["took"] = time.monotonic() - connection.info["began"]

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)


def _query_rows(engines: dict[str, Engine], rounds: int, stack: ExitStack) -> list[Row]:
    works = {name: _query(stack.enter_context(engine.connect())) for name, engine in engines.items()}
    peer = "before/after_cursor_execute"
    rows = _rows(f"query interception, µs a query; peer: {peer}", works, rounds, "≤ 2.0 µs")
    ours = _calls(works["holdfast"]) - _calls(works["bare"])
    theirs = _calls(works["events"]) - _calls(works["bare"])
    what = f"functions called more a query; peer: {peer}"
    return [*rows, row("PRF-3", what, ours, theirs, spread="exact")]


def _work_rows(engines: dict[str, Engine], rounds: int) -> list[Row]:
    works = {name: _unit(engine) for name, engine in engines.items()}
    what = "a unit of work: checkout, query, rollback, checkin, µs added; peer: before/after_cursor_execute"
    return _rows(what, works, rounds, None)


def _query(connection: Connection) -> Work:
    execute = connection.execute

    def work() -> None:
        execute(SENTENCE, VALUES).all()

    return work


def _unit(engine: Engine) -> Work:
    def work() -> None:
        with engine.connect() as connection:
            connection.execute(SENTENCE, VALUES).all()

    return work


def _rows(what: str, works: dict[str, Work], rounds: int, target: str | None) -> list[Row]:
    added: dict[str, list[float]] = {name: [] for name in works if name != "bare"}
    bare: list[float] = []
    for number in range(rounds + 2):
        prices = {name: _batch(work) for name, work in works.items()}
        if number < 2:
            continue  # warms up
        bare.append(prices["bare"])
        for name, values in added.items():
            values.append(prices[name] - prices["bare"])
    ours, theirs = added["holdfast"], added["events"]
    said = f"{what} (bare: {median(bare):.1f} µs)"
    return [row("PRF-3", said, median(ours), median(theirs), target=target, spread=quartiles(ours))]


def _batch(work: Work) -> float:
    gc.collect()
    began = time.thread_time_ns()
    for _ in range(BATCH):
        work()
    return (time.thread_time_ns() - began) / BATCH / 1000


def _calls(work: Work) -> float:
    """Python's and C's function calls: a number that no neighbour can disturb."""
    calls = 0

    def count(frame: object, kind: str, arg: object) -> None:
        nonlocal calls
        calls += kind in {"call", "c_call"}

    work()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls
