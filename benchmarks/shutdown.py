"""PRF-7: how long a server takes to end on SIGTERM with 500 idle WebSockets open."""

from __future__ import annotations

import asyncio
import subprocess

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.report import Row, row
from benchmarks.requests import fill
from benchmarks.serving import Under, serving
from benchmarks.statistic import median, quartiles
from holdfast.drill.servers import real_server

SOCKETS = 500
TIMES = 3


def run(quick: bool = False) -> list[Row]:
    """Seconds from SIGTERM to the end of the process."""
    took: dict[Under, list[float]] = {"holdfast": [], "uvicorn": []}
    with real_server("postgresql") as server:
        fill(server)
        environment = {"DATABASE_URL": server.url("asyncpg")}
        for _ in range(1 if quick else TIMES):
            for under, values in took.items():
                values.append(asyncio.run(_ending(under, environment)))
    ours, theirs = took["holdfast"], took["uvicorn"]
    what = f"SIGTERM with {SOCKETS} idle WebSockets to the end of the process, s; peer: plain uvicorn"
    return [row("PRF-7", what, median(ours), median(theirs), target="≤ 1.0 s", spread=quartiles(ours))]


async def _ending(under: Under, environment: dict[str, str]) -> float:
    with serving("async_shop:app", under, environment) as served:
        sockets: list[ClientConnection] = []
        for _ in range(SOCKETS // 50):
            opening = (
                connect(f"ws://127.0.0.1:{served.port}/ws", ping_interval=None, compression=None)
                for _ in range(50)
            )
            sockets += await asyncio.gather(*opening)
        try:
            return await asyncio.to_thread(served.stop)
        except subprocess.TimeoutExpired as late:
            return late.timeout
        finally:
            await asyncio.gather(*(one.close() for one in sockets), return_exceptions=True)
