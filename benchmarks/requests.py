"""PRF-2: the same application under `holdfast run` and under plain uvicorn, one query a request.

Both run at the same time on one PostgreSQL and are loaded in turns, in the order A B B A, so that a
slow stretch of the machine falls on both. Next to the throughput stands the processor time that the
server process needs for a request, which neighbours disturb less.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from benchmarks.load import CONNECTIONS, Done, press, tool
from benchmarks.report import Row, row
from benchmarks.serving import Served, serving
from benchmarks.statistic import median, quartiles
from holdfast.drill.servers import real_server

PATH = "/items/7"
SLICE_S = 1
ROUNDS = {"asyncpg": 30, "psycopg": 20, "sync psycopg": 20}
_SHOPS = {
    "asyncpg": ("async_shop:app", "asyncpg"),
    "psycopg": ("async_shop:app", "psycopg"),
    "sync psycopg": ("sync_shop:app", "psycopg"),
}
_TABLE = """
CREATE TABLE items (id integer PRIMARY KEY, name varchar NOT NULL);
INSERT INTO items SELECT number, 'item ' || number FROM generate_series(1, 20) AS number
"""


def run(quick: bool = False) -> list[Row]:
    """Rows for each shop: throughput and processor time, holdfast against uvicorn."""
    rows: list[Row] = []
    with real_server("postgresql") as server:
        fill(server)
        for name, rounds in ROUNDS.items():
            target, driver = _SHOPS[name]
            rows += _compare(name, target, server.url(driver), 3 if quick else rounds)
    return rows


def fill(server: Any) -> None:
    """The table that the shops read."""
    for statement in _TABLE.split(";"):
        server.execute(statement)


def _compare(name: str, target: str, url: str, rounds: int) -> list[Row]:
    environment = {"DATABASE_URL": url}
    with ExitStack() as stack:
        ours = stack.enter_context(serving(target, "holdfast", environment))
        theirs = stack.enter_context(serving(target, "uvicorn", environment))
        for one in (ours, theirs):
            press(one.port, PATH, 1)  # imports, prepared statements, pools
        samples: dict[Served, list[tuple[Done, float]]] = {ours: [], theirs: []}
        for number in range(rounds):
            for one in (ours, theirs) if number % 2 else (theirs, ours):
                samples[one].append(_slice(one))
        if "hook_skipped" in ours.output:
            raise RuntimeError(
                f"holdfast does not see the engine, the figure would be too good:\n{ours.output}"
            )
    return _rows(name, samples[ours], samples[theirs])


def _slice(one: Served) -> tuple[Done, float]:
    """One slice of load, and the microseconds of processor time that a request of it took."""
    before = one.cpu()
    done = press(one.port, PATH, SLICE_S)
    return done, (one.cpu() - before) / done.requests * 1e6


def _rows(name: str, ours: list[tuple[Done, float]], theirs: list[tuple[Done, float]]) -> list[Row]:
    pairs = list(zip(ours, theirs, strict=True))
    rates = [mine[0].rate / other[0].rate for mine, other in pairs]
    costs = [mine[1] / other[1] for mine, other in pairs]
    by = f"{tool()}, {CONNECTIONS} connections, load {os.getloadavg()[0]:.1f}"
    return [
        row(
            "PRF-2",
            f"requests/s with one query, {name}; peer: plain uvicorn ({by})",
            median([one[0].rate for one in ours]),
            median([one[0].rate for one in theirs]),
            ratio=median(rates),
            target="≥ 0.95 ×",
            spread=quartiles(rates, 3),
        ),
        row(
            "PRF-2",
            f"processor time of the server a request, µs, {name}; peer: plain uvicorn",
            median([one[1] for one in ours]),
            median([one[1] for one in theirs]),
            ratio=median(costs),
            target="≤ 1.053 ×",
            spread=quartiles(costs, 3),
        ),
    ]
