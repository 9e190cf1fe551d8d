"""PRF-4: from the moment the server accepts connections to the first success, and until nobody waits.

PostgreSQL is stopped as hard as it goes, is gone for a second and comes back, under 200 requests a
second. The moment is seen from outside, by asking every two milliseconds. The peer is plain uvicorn
with `pool_pre_ping=True`; its restarts stand between ours.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import uvloop

from benchmarks.client import Record, Stream
from benchmarks.report import Row, row
from benchmarks.requests import PATH, fill
from benchmarks.serving import Under, serving
from benchmarks.statistic import median, percentile, quartiles
from holdfast.drill.servers import real_server

RATE = 200.0
GONE_S = 1.0
BEFORE_S, AFTER_S = 0.4, 1.0
RESTARTS, PEERS_EVERY = 20, 3
THREADS_RATE, THREADS_GONE_S, THREADS_RESTARTS = 100.0, 5.0, 3
_ASK_EVERY = 0.002


@dataclass(frozen=True, slots=True)
class Restart:
    """What came of one restart; milliseconds after the server accepted connections."""

    first_ms: float
    all_ms: float
    sent: int
    failed: int


def run(quick: bool = False) -> list[Row]:
    """Rows over 20 restarts."""
    found: dict[Under, list[Restart]] = {"holdfast": [], "uvicorn": []}
    with ExitStack() as stack:
        server = stack.enter_context(real_server("postgresql"))
        fill(server)
        environment = {"DATABASE_URL": server.url("asyncpg")}
        ports: dict[Under, int] = {
            "holdfast": stack.enter_context(serving("async_shop:app", "holdfast", environment)).port,
            "uvicorn": stack.enter_context(
                serving("async_shop:app", "uvicorn", environment | {"SHOP_PRE_PING": "1"})
            ).port,
        }
        for number in range(3 if quick else RESTARTS):
            found["holdfast"].append(uvloop.run(_restart(server, ports["holdfast"])))
            if number % PEERS_EVERY == 0:
                found["uvicorn"].append(uvloop.run(_restart(server, ports["uvicorn"])))
        in_threads = {"DATABASE_URL": server.url("psycopg")}
        port = stack.enter_context(serving("sync_shop:app", "holdfast", in_threads)).port
        threads = [
            uvloop.run(_restart(server, port, THREADS_RATE, THREADS_GONE_S))
            for _ in range(1 if quick else THREADS_RESTARTS)
        ]
    return [*_rows(found["holdfast"], found["uvicorn"]), *_rows_of_threads(threads)]


async def _restart(server: Any, port: int, rate: float = RATE, gone_s: float = GONE_S) -> Restart:
    stream = Stream(port, PATH, rate)
    await stream.warm(16)
    stop = asyncio.Event()
    arrivals = asyncio.create_task(_until(stream, stop))
    await asyncio.sleep(BEFORE_S)
    await asyncio.to_thread(server.stop, "immediate")
    await asyncio.sleep(gone_s)
    began = time.monotonic()
    back_at = await asyncio.to_thread(_start, server)
    await asyncio.sleep(AFTER_S)
    stop.set()
    await arrivals
    await stream.settle(timeout=15.0)
    return _judge(stream.records, began, back_at)


async def _until(stream: Stream, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await stream.arrive(0.05)


def _start(server: Any) -> float:
    """Start; the monotonic moment at which the server lets a client in."""
    server.start(wait=False)
    while not server.accepts_connections():
        if not server.running:
            raise RuntimeError(f"postgresql did not start again:\n{server.log()[-2000:]}")
        time.sleep(_ASK_EVERY)
    return time.monotonic()


def _judge(records: list[Record], began: float, back_at: float) -> Restart:
    after = [one for one in records if one.done_at > began and one.status == 200]
    waited = [one.done_at for one in after if one.sent_at < back_at]
    first = min((one.done_at for one in after), default=float("inf"))
    return Restart(
        first_ms=max(0.0, first - back_at) * 1000,
        all_ms=max(0.0, max(waited, default=back_at) - back_at) * 1000,
        sent=len(records),
        failed=sum(one.status != 200 for one in records),
    )


def _rows(ours: list[Restart], theirs: list[Restart]) -> list[Row]:
    first, other = [one.first_ms for one in ours], [one.first_ms for one in theirs]
    every = [one.all_ms for one in ours]
    peer = "peer: plain uvicorn, pool_pre_ping"
    over = f"p99 of {len(ours)} restarts"
    return [
        row(
            "PRF-4",
            f"server accepts connections to first success, ms, {over}; {peer}",
            percentile(first, 0.99),
            percentile(other, 0.99),
            target="≤ 100.0 ms",
            spread=quartiles(first, 0),
        ),
        row("PRF-4", f"the same, median, ms; {peer}", median(first), median(other)),
        row(
            "PRF-4",
            f"until all that waited are served, ms, {over} at {RATE:.0f}/s (the peer lets nobody wait)",
            percentile(every, 0.99),
            target="≤ 1000.0 ms",
            spread=quartiles(every, 0),
        ),
        row("PRF-4", f"requests failed of those sent, %; {peer}", _failed(ours), _failed(theirs)),
    ]


def _rows_of_threads(restarts: list[Restart]) -> list[Row]:
    waiting = THREADS_GONE_S * THREADS_RATE
    every = [one.all_ms for one in restarts]
    over = f"worst of {len(restarts)} restarts, {waiting:.0f} waiting in a shop of threads"
    return [
        row("PRF-4", f"until all that waited are served, ms, {over}", max(every), target="≤ 1000.0 ms"),
        row("PRF-4", f"requests failed of those sent, %, {over}", _failed(restarts)),
    ]


def _failed(restarts: list[Restart]) -> float:
    return 100 * sum(one.failed for one in restarts) / sum(one.sent for one in restarts)
