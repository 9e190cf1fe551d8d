"""One JSON log event of eight fields: what whoever logs pays, against writing it in place (PRF-3).

Every entry logs the same event in interleaved batches; the price is the CPU time of the calling
thread. Ours hands over and a thread renders; the peers render and write to the null device in the
caller. What rendering costs our thread is a row of its own: it is moved, not saved.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import orjson
import structlog

from holdfast.telemetry.lines import json_text
from holdfast.telemetry.logs import Logs, configure

BATCH = 1_000  # events; well under the queue's bound, so nothing is dropped
ROUNDS = 30
TARGET_US = 10.0
FIELDS: dict[str, Any] = {
    "order": 4711,
    "customer": "c-1029",
    "items": 3,
    "total": 129.9,
    "currency": "EUR",
    "method": "card",
    "express": True,
    "region": "eu-west",
}

Entry = Callable[[], None]


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows of the figure: microseconds an event on the caller's side, and the ratio to each peer."""
    with ExitStack() as stack:
        null = stack.enter_context(Path(os.devnull).open("w"))
        logs = configure("json", "info", null)
        stack.callback(logs.close)
        entries = {**_ours(logs), **_peers(null, stack)}
        prices = _measure(entries, logs, 5 if quick else ROUNDS)
        dropped = logs.dropped
    if dropped:
        raise RuntimeError(f"{dropped} events were dropped: the figure would be too good")
    return [*_rows(prices), _rendering()]


def _ours(logs: Logs) -> dict[str, Entry]:
    bound = structlog.get_logger("shop")
    standard = logging.getLogger("shop")

    def write() -> None:
        logs.write("info", "order_placed", FIELDS)

    def through_structlog() -> None:
        bound.info("order_placed", **FIELDS)

    def through_logging() -> None:
        standard.info("order_placed", extra=FIELDS)

    return {
        "holdfast, its own events": write,
        "holdfast, structlog's logger": through_structlog,
        "holdfast, the standard library's logger": through_logging,
    }


def _peers(null: TextIO, stack: ExitStack) -> dict[str, Entry]:
    """structlog as its documentation's chapter on performance sets it up; python-json-logger if there."""
    binary = stack.enter_context(Path(os.devnull).open("wb"))  # noqa: SIM115 - the stack closes it
    fast = structlog.wrap_logger(
        structlog.BytesLogger(binary),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )
    peers: dict[str, Entry] = {"structlog, fast configuration": lambda: fast.info("order_placed", **FIELDS)}
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError:
        return peers
    handler = logging.StreamHandler(null)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("python-json-logger")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    stack.callback(logger.removeHandler, handler)
    peers["logging + python-json-logger"] = lambda: logger.info("order_placed", extra=FIELDS)
    return peers


def _measure(entries: dict[str, Entry], logs: Logs, rounds: int) -> dict[str, list[float]]:
    """Microseconds an event of every batch, by entry; the queue is empty before each batch."""
    prices: dict[str, list[float]] = {name: [] for name in entries}
    for number in range(rounds + 1):
        for name, entry in entries.items():
            logs.flush(10.0)
            gc.collect()
            price = _batch(entry)
            if number:  # the first round warms up
                prices[name].append(price)
    return prices


def _batch(entry: Entry) -> float:
    began = time.thread_time_ns()
    for _ in range(BATCH):
        entry()
    return (time.thread_time_ns() - began) / BATCH / 1000


def _rows(prices: dict[str, list[float]]) -> list[dict[str, Any]]:
    ours = {name: times for name, times in prices.items() if name.startswith("holdfast")}
    peers = {name: times for name, times in prices.items() if name not in ours}
    return [_row(name, times, peer, peers[peer]) for peer in peers for name, times in ours.items()]


def _row(name: str, ours: list[float], peer: str, theirs: list[float]) -> dict[str, Any]:
    price, other = statistics.median(ours), statistics.median(theirs)
    return {
        "figure": "PRF-3",
        "what": f"one JSON log event of 8 fields, caller's side, µs: {name} against {peer}",
        "ours": round(price, 2),
        "peer": round(other, 2),
        "ratio": round(price / other, 3),
        "target": f"≤ {TARGET_US:.1f} µs",
        "spread": _spread(ours),
    }


def _rendering() -> dict[str, Any]:
    line = (time.time(), "info", "holdfast", "order_placed", None, FIELDS, None, None)
    prices = [_batch(lambda: json_text(line) and None) for _ in range(5)]
    return {
        "figure": "PRF-3",
        "what": "rendering and redacting that event in the writer's thread, µs",
        "ours": round(statistics.median(prices), 2),
        "peer": None,
        "ratio": None,
        "target": None,
        "spread": _spread(prices),
    }


def _spread(prices: list[float]) -> str:
    """Lower and upper quartile."""
    low, _, high = statistics.quantiles(prices, n=4)
    return f"{low:.2f}–{high:.2f}"
