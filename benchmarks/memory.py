"""PRF-5: the memory of a request that waits for its database, against the least that can wait.

A thousand connections are open and have been served before, so that what grows is the waiting alone.
Each measurement is a process of its own: memory once grown would hide the next growth.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.client import Connection, connect, request
from benchmarks.report import Row, row
from benchmarks.requests import PATH, fill
from benchmarks.serving import Served, serving
from benchmarks.statistic import median, quartiles
from holdfast.drill.servers import real_server

WAITING = 1000
TIMES = 3
_QUIET_FOR = 0.4  # seconds without work after which everyone is taken to wait
_PATIENCE = {"HOLDFAST_MAX_WAIT_MS": "120000", "REQUEST_TIMEOUT_MS": "120000", "HOLDFAST_MAX_WAITING": "2000"}


def run(quick: bool = False) -> list[Row]:
    """KiB a waiting request."""
    times = 1 if quick else TIMES
    ours = [asyncio.run(_held()) for _ in range(times)]
    theirs = [asyncio.run(_least()) for _ in range(times)]
    what = (
        f"memory a waiting request, KiB ({WAITING} at once); peer: uvicorn, an application that only sleeps"
    )
    return [row("PRF-5", what, median(ours), median(theirs), target="≤ 16.0 KiB", spread=quartiles(ours, 1))]


async def _held() -> float:
    """Requests held by holdfast because the database is gone."""
    with real_server("postgresql") as server:
        fill(server)
        environment = {"DATABASE_URL": server.url("asyncpg"), **_PATIENCE}
        with serving("async_shop:app", "holdfast", environment) as served:
            connections = await _warmed(served, PATH)
            server.stop("immediate")
            first = connections.pop().send(request(PATH))
            await noticed(served)
            return await _growth(served, connections, PATH, [first])


async def _least() -> float:
    with serving("plain:waiting", "uvicorn") as served:
        return await _growth(served, await _warmed(served, "/"), "/wait", [])


async def _warmed(served: Served, path: str) -> list[Connection]:
    connections = []
    for _ in range(WAITING):
        connection = await connect(served.port)
        status = await connection.send(request(path))
        if status != 200:
            raise RuntimeError(f"{path} answered {status} while all was well:\n{served.output}")
        connections.append(connection)
    return connections


async def noticed(served: Served, within: float = 5.0) -> None:
    """Return when holdfast knows that the database is away."""
    give_up_at = time.monotonic() + within
    asking = await connect(served.port)
    while await asking.send(request("/_holdfast/readyz")) == 200:
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"the loss was not noticed within {within:g} s:\n{served.output}")
        await asyncio.sleep(0.02)
    asking.close()


async def _growth(
    served: Served, connections: list[Connection], path: str, waiting: list[asyncio.Future[int]]
) -> float:
    before = served.rss()
    sent = [connection.send(request(path)) for connection in connections]
    await _quiet(served)
    grown = served.rss() - before
    if any(one.done() for one in (*sent, *waiting)):
        raise RuntimeError(f"not every request waited:\n{served.output}")
    served.process.kill()
    await asyncio.gather(*sent, *waiting, return_exceptions=True)
    return grown / len(sent) / 1024


async def _quiet(served: Served) -> None:
    """Return when the server has nothing to do any more: its processor time stands still."""
    while True:
        before = served.cpu()
        await asyncio.sleep(_QUIET_FOR)
        if served.cpu() - before < 0.02:
            return
