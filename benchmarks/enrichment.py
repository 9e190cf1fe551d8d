"""PRF-3: what telling one error costs the request that met it: classify, enrich, redact, count, hand over.

Each error is a new one with a statement and parameters, as a driver raises it; every tenth path is new. The
peer is what applications do without holdfast: `logger.exception`, formatted in place.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from benchmarks.report import Row, row
from benchmarks.statistic import median, quartiles
from holdfast.context import REQUEST, Request
from holdfast.events import RequestFailed
from holdfast.telemetry.events import EventLog
from holdfast.telemetry.incidents import Incidents
from holdfast.telemetry.logs import configure

ROUNDS = 30
BATCH = 200
STATEMENT = (
    "INSERT INTO orders (reference, item_id, customer, note) VALUES (%(reference)s, 7, 'ann', 'to the door')"
)
Entry = Callable[[int], None]


class UniqueViolationError(Exception):
    """As asyncpg names it."""

    sqlstate = "23505"


def run(quick: bool = False) -> list[Row]:
    """Microseconds an error on the side of the request."""
    now = time.monotonic()
    request = Request("bench", "POST", "/orders", now, now + 3600)
    request.client, request.headers = "203.0.113.7", {b"user-agent": b"Mozilla/5.0 (X11; Linux x86_64)"}
    request.ledger.databases.add("main")
    token = REQUEST.set(request)
    try:
        with ExitStack() as stack:
            return _measure(stack, 5 if quick else ROUNDS)
    finally:
        REQUEST.reset(token)


def _measure(stack: ExitStack, rounds: int) -> list[Row]:
    null = stack.enter_context(Path(os.devnull).open("w"))  # noqa: SIM115 - the stack closes it
    logs = configure("json", "info", null)
    stack.callback(logs.close)
    log = EventLog(logs.write, Incidents())

    def ours(number: int) -> None:
        log(failed(number))

    entries = {"ours": ours, "peer": _usual(stack, null), "bare": lambda number: failed(number) and None}
    prices: dict[str, list[float]] = {name: [] for name in entries}
    for number in range(rounds + 1):
        for name, entry in entries.items():
            logs.flush(10.0)
            price = _batch(entry, number * BATCH)
            if number:  # the first round warms up
                prices[name].append(price)
    bare = median(prices["bare"])
    told = [price - bare for price in prices["ours"]]
    usual = [price - bare for price in prices["peer"]]
    what = "error enrichment, µs an error on the request's side; peer: logging.exception to a stream"
    return [row("PRF-3", what, median(told), median(usual), target="≤ 150.0 µs", spread=quartiles(told, 1))]


def failed(number: int) -> RequestFailed:
    """An error as it comes out of an application."""
    cause = UniqueViolationError(f'duplicate key value violates "orders_key": (reference)=({number})')
    try:
        raise IntegrityError(STATEMENT, {"reference": f"order-{number}"}, cause) from cause
    except IntegrityError as error:
        return RequestFailed(
            request_id=f"{number:032x}",
            method="POST",
            path=f"/orders/{number // 10}",
            status=409,
            category="constraint",
            error=error,
        )


def _usual(stack: ExitStack, null: object) -> Entry:
    logger = logging.getLogger("bench.usual")
    handler = logging.StreamHandler(null)  # type: ignore[arg-type]
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.propagate = False
    logger.addHandler(handler)
    stack.callback(logger.removeHandler, handler)

    def entry(number: int) -> None:
        event = failed(number)
        logger.error("request failed %s %s", event.method, event.path, exc_info=event.error)

    return entry


def _batch(entry: Entry, first: int) -> float:
    gc.collect()
    began = time.thread_time_ns()
    for number in range(first, first + BATCH):
        entry(number)
    return (time.thread_time_ns() - began) / BATCH / 1000
