"""PRF-5: how fast requests are refused once the outage is too long to wait, at 1,000 arrivals a second.

Two peers: an application that answers a constant 503 under uvicorn, which is what server, client and
machine cost; and the same shop under plain uvicorn, which asks its database afresh for each request.
"""

from __future__ import annotations

from contextlib import ExitStack

import uvloop

from benchmarks.client import Connection, Record, Stream, connect, request
from benchmarks.memory import noticed
from benchmarks.report import Row, row
from benchmarks.requests import PATH, fill
from benchmarks.serving import serving
from benchmarks.statistic import percentile, quartiles
from holdfast.drill.servers import real_server

RATE = 1000.0
SLICE_S = 2.0
ROUNDS = 5
_AT_ONCE = {"HOLDFAST_FAIL_FAST_AFTER_MS": "1"}


def run(quick: bool = False) -> list[Row]:
    """Milliseconds to a refusal, the 99th percentile."""
    with ExitStack() as stack:
        return uvloop.run(_measure(stack, 1 if quick else ROUNDS))


async def _measure(stack: ExitStack, rounds: int) -> list[Row]:
    server = stack.enter_context(real_server("postgresql"))
    fill(server)
    environment = {"DATABASE_URL": server.url("asyncpg")}
    ours = stack.enter_context(serving("async_shop:app", "holdfast", environment | _AT_ONCE))
    floor = stack.enter_context(serving("plain:refusing", "uvicorn"))
    asked = await _learn(ours.port)
    server.stop("immediate")
    asked.send(request(PATH))
    await noticed(ours)
    slices: dict[int, list[list[float]]] = {ours.port: [], floor.port: []}
    for number in range(rounds + 1):
        for port, found in slices.items():
            times = _times(await _stream(port, SLICE_S), {503})
            if number:  # the first one warms up
                found.append(times)
    asked.close()
    bare = stack.enter_context(serving("async_shop:app", "uvicorn", environment))
    usual = [one.took * 1000 for one in await _stream(bare.port, SLICE_S)]
    return _rows(slices[ours.port], slices[floor.port], usual)


async def _learn(port: int) -> Connection:
    """Let holdfast see that the route needs the database."""
    connection = await connect(port)
    for _ in range(20):
        await connection.send(request(PATH))
    return connection


async def _stream(port: int, seconds: float) -> list[Record]:
    stream = Stream(port, PATH, RATE)
    await stream.warm(32)
    await stream.arrive(seconds)
    await stream.settle(timeout=10.0)
    return stream.records


def _times(records: list[Record], expected: set[int]) -> list[float]:
    """Milliseconds. Raises RuntimeError when anything but a refusal came back."""
    others = {one.status for one in records} - expected
    if others:
        raise RuntimeError(f"expected {sorted(expected)}, and got {sorted(others)} too (0: no answer)")
    return [one.took * 1000 for one in records]


def _rows(ours: list[list[float]], floor: list[list[float]], usual: list[float]) -> list[Row]:
    every, least = [one for some in ours for one in some], [one for some in floor for one in some]
    spread = quartiles([percentile(one, 0.99) for one in ours])
    p99, p50 = percentile(every, 0.99), percentile(every, 0.5)
    what = f"refusal at {RATE:,.0f} requests/s"
    constant, shop = "uvicorn, a constant 503", "plain uvicorn, same shop"
    bare, floor99 = percentile(usual, 0.99), percentile(least, 0.99)
    return [
        row("PRF-5", f"{what}, p99, ms; peer: {constant}", p99, floor99, target="≤ 2.0 ms", spread=spread),
        row("PRF-5", f"{what}, median, ms; peer: {constant}", p50, percentile(least, 0.5)),
        row("PRF-5", f"{what}, p99, ms; peer: {shop}", p99, bare),
    ]
