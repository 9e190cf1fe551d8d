"""PRF-2, without the noise: what holdfast adds to a request, by part, in one process, in short turns.

The same application stands four times in this process: bare, behind holdfast, with only the hooks on
its engine, and with only the front before it. Each is called through ASGI in turns of a few dozen
requests; the price is the thread's processor time less the bare one's of the same round.
uvicorn itself is not in it, so the share of a whole request is smaller than what is shown here.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from benchmarks.report import Row, row
from benchmarks.requests import PATH, fill
from benchmarks.serving import APPLICATIONS
from benchmarks.statistic import median, quartiles
from holdfast.app import Holdfast
from holdfast.databases.sqlalchemy import activate, deactivate
from holdfast.drill.servers import real_server
from holdfast.settings.settings import Settings

ROUNDS, BATCH = 150, 20
_SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": PATH,
    "raw_path": PATH.encode(),
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1"), (b"user-agent", b"bench"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 4711),
    "server": ("127.0.0.1", 80),
}
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def run(quick: bool = False) -> list[Row]:
    """Microseconds and function calls that holdfast adds to a request."""
    deactivate()
    with real_server("postgresql") as server:
        fill(server)
        os.environ["DATABASE_URL"] = server.url("asyncpg")
        bare, half = _application("bare"), _application("half")
        hold = Holdfast(Settings())
        hold.started_by_hand = True
        activate()
        try:
            whole, hooks = _application("whole"), _application("hooks")
            apps: dict[str, App] = {
                "bare": bare.app,
                "all of it": hold.wrap(whole.app),
                "the hooks on the engine": hooks.app,
                "the front before the application": hold.wrap(half.app),
            }
            rows = uvloop.run(_measure(apps, [bare, half, whole, hooks], 10 if quick else ROUNDS))
            if not all(database.heard_at for database in hold.registry):
                raise RuntimeError("the hooks heard of no answer: the figure would be too good")
            return rows
        finally:
            deactivate()
            hold.close()
            del os.environ["DATABASE_URL"]


def _application(name: str) -> Any:
    """A copy of the shop with an engine of its own."""
    spec = importlib.util.spec_from_file_location(f"shop_{name}", APPLICATIONS / "async_shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def _measure(apps: dict[str, App], shops: list[Any], rounds: int) -> list[Row]:
    try:
        prices: dict[str, list[float]] = {name: [] for name in apps}
        gc.freeze()  # what was imported need not be walked before each turn
        for number in range(rounds + 3):
            this = {name: await _batch(app) for name, app in apps.items()}
            if number >= 3:  # the first ones warm up
                for name, price in this.items():
                    prices[name].append(price)
        calls = {name: await _calls(app) for name, app in apps.items()}
    finally:
        gc.unfreeze()
        for shop in shops:
            await shop.engine.dispose()
    return _rows(prices, calls)


def _rows(prices: dict[str, list[float]], calls: dict[str, float]) -> list[Row]:
    bare, least = prices["bare"], calls["bare"]
    rows: list[Row] = []
    for name in prices:
        if name == "bare":
            continue
        added = [mine - other for mine, other in zip(prices[name], bare, strict=True)]
        what = f"µs added to a request: {name} (bare, without the server: {median(bare):.0f} µs)"
        rows.append(row("PRF-2", what, median(added), spread=quartiles(added, 1)))
    what = "functions called in a request, without the server; peer: bare"
    return [*rows, row("PRF-2", what, calls["all of it"], least, spread="exact")]


async def _batch(app: App) -> float:
    gc.collect()
    began = time.thread_time_ns()
    for _ in range(BATCH):
        await app(dict(_SCOPE), _receive, _send)
    return (time.thread_time_ns() - began) / BATCH / 1000


async def _calls(app: App) -> float:
    calls = 0

    def count(frame: object, kind: str, arg: object) -> None:
        nonlocal calls
        calls += kind in {"call", "c_call"}

    sys.setprofile(count)
    try:
        for _ in range(BATCH):
            await app(dict(_SCOPE), _receive, _send)
    finally:
        sys.setprofile(None)
    return round(calls / BATCH)


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: dict[str, Any]) -> None:
    if message.get("status", 200) != 200:
        raise RuntimeError(f"{PATH} answered {message['status']}")
