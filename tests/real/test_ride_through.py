"""Unmodified shops ride through the faults of their database (PRM-1, REQ-3, REQ-4, TXN-4, DB-6, DB-12).

Each test states a claim about what clients saw and what is in the table; durations appear only as
bounds that are promises.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp
import pytest
from running import ASYNCPG, EVERY_SHOP, LITESTAR, PSYCOPG, SYNC, Shop, running
from scene import Scene, scene

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.toxics import Latency
from load import IN_DOUBT, INTERRUPTED, PROBLEM, Record, Shape

MAX_WAIT = 10.0  # HOLDFAST_MAX_WAIT_MS
MARGIN = 2.0  # what a busy machine may add
MOST_IN_DOUBT = 5
# 100 requests a second for ten seconds are one more than the waiting room holds by default.
ROOM = {"HOLDFAST_MAX_WAITING": "2000"}


def by_name(shop: Shop) -> str:
    return shop.name


def wrong(records: Sequence[Record]) -> list[str]:
    """Those that did not succeed, told."""
    return [str(one) for one in records if not one.ok]


def assert_orders_are_right(stage: Scene) -> None:
    """No acknowledged order is missing, none is there twice."""
    verdict = stage.verdict()

    assert verdict.right, stage.told()
    assert verdict.acknowledged > 0


# ── restart ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shop", "absent"),
    [*((shop, 1.0) for shop in EVERY_SHOP), (ASYNCPG, 5.0)],
    ids=lambda value: value.name if isinstance(value, Shop) else f"{value:.0f}s",
)
async def test_a_restart_fails_no_request(shop: Shop, absent: float) -> None:
    """PRM-1: every read succeeds, every order but a commit in doubt does, nothing is lost or doubled."""
    async with scene(shop, direct=True) as stage:
        await stage.restart(absent)
        await asyncio.sleep(2)
        confined = stage.running.confined()

    assert confined == [], "threads were left on one core"
    reads = [one for one in stage.records if one.method == "GET"]
    orders = [one for one in stage.records if one.method == "POST"]
    in_doubt = [one for one in orders if (one.status, one.code) in (IN_DOUBT, INTERRUPTED)]
    assert wrong(reads) == [], stage.told()
    assert wrong([one for one in orders if one not in in_doubt]) == [], stage.told()
    assert len(in_doubt) <= MOST_IN_DOUBT, stage.told()
    interrupted = {one.reference for one in in_doubt if one.code == INTERRUPTED[1]}
    assert interrupted <= set(stage.rows), "told that it was saved, and it is not there"
    assert_orders_are_right(stage)
    first = min(one.done_at for one in stage.records if one.ok and one.done_at > stage.ended_at)
    assert first - stage.ended_at < 1.0, stage.told()


@pytest.mark.parametrize("shop", EVERY_SHOP, ids=by_name)
async def test_three_restarts_in_order_fail_no_request(shop: Shop) -> None:
    """PRM-1: the server that ends its sessions in order says so before it closes them; some are used
    in between."""
    async with scene(shop, Shape(rate=150), direct=True) as stage:
        for _ in range(3):
            await stage.restart(0.3, "fast")
            await asyncio.sleep(1.5)

    orders = [one for one in stage.records if one.method == "POST"]
    in_doubt = [one for one in orders if (one.status, one.code) in (IN_DOUBT, INTERRUPTED)]
    assert wrong([one for one in stage.records if one not in in_doubt]) == [], stage.told()
    assert len(in_doubt) <= MOST_IN_DOUBT, stage.told()
    assert_orders_are_right(stage)


async def test_orders_without_a_key_are_never_doubled_by_a_restart() -> None:
    """REQ-4: those that had sent nothing are run again, the others are told; none lands twice."""
    async with scene(ASYNCPG, Shape(keyed=False, get_share=0.5), direct=True) as stage:
        await stage.restart(absent=2.0)
        await asyncio.sleep(2)

    assert {one.status for one in stage.records} <= {200, 201, 503}, stage.told()
    assert wrong(stage.sent_between(stage.began_at + 0.5, stage.ended_at)) == [], stage.told()
    assert wrong([one for one in stage.records if one.method == "GET"]) == [], stage.told()
    assert_orders_are_right(stage)


# ── resets ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=by_name)
async def test_resets_of_every_connection_fail_no_request(shop: Shop) -> None:
    """Five times, two seconds apart."""
    async with scene(shop) as stage:
        stage.began_at = time.monotonic()
        for _ in range(5):
            stage.proxy.reset_all()
            await asyncio.sleep(2)

    assert stage.proxy.counters.resets > 0
    assert wrong(stage.records) == [], stage.told()
    assert_orders_are_right(stage)


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shop", "seconds"), [(ASYNCPG, 20.0), (LITESTAR, 11.0)], ids=["asyncpg", "litestar"]
)
async def test_while_refused_requests_wait_and_are_then_told(shop: Shop, seconds: float) -> None:
    """REQ-3, REQ-6: up to ten seconds of waiting, then 503 with Retry-After; health tells the truth."""
    async with scene(shop, Shape(rate=50, timeout=20)) as stage:
        stage.proxy.refuse()
        looking = asyncio.create_task(look(stage, seconds - 1))
        await stage.during(seconds)
        seen = await looking
        await asyncio.sleep(2)

    assert {one.status for one in stage.records} <= {200, 201, 503}, stage.told()
    refused = [one for one in stage.records if one.status == 503]
    assert all(one.took <= MAX_WAIT + MARGIN for one in stage.records), stage.told()
    assert {one.content_type for one in refused} == {PROBLEM}
    assert all(one.retry_after and one.retry_after.isdigit() for one in refused), stage.told()
    late = stage.sent_between(stage.ended_at - MAX_WAIT + MARGIN, stage.ended_at + 2)
    assert wrong(late) == [], stage.told()
    assert seen["/health"] == {200}
    assert seen["/_holdfast/api/health"] == {503}
    assert_orders_are_right(stage)


async def look(stage: Scene, seconds: float) -> dict[str, set[int]]:
    """Which statuses liveness and readiness had, from half a second on, for *seconds*."""
    seen: dict[str, set[int]] = {"/health": set(), "/_holdfast/api/health": set()}
    await asyncio.sleep(0.5)
    give_up_at = time.monotonic() + seconds - 0.5
    while time.monotonic() < give_up_at:
        for path, statuses in seen.items():
            statuses.add((await stage.load.get(path)).status)
        await asyncio.sleep(0.2)
    return seen


# ── silence ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=by_name)
async def test_a_black_hole_is_noticed_and_most_requests_ride_it_out(shop: Shop) -> None:
    """DB-12, PRF-8: ten seconds without reset or answer, for clients that wait ten seconds."""
    async with scene(shop, environment=ROOM) as stage:
        stage.proxy.black_hole()
        await stage.during(10)
        await asyncio.sleep(10)

    touched = stage.sent_between(stage.began_at, stage.ended_at + 10)
    assert sum(one.ok for one in touched) / len(touched) >= 0.85, stage.told()
    assert_orders_are_right(stage)


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=by_name)
async def test_a_moment_of_silence_fails_nothing_and_nobody_waits_long(shop: Shop) -> None:
    """DB-12: too short to be suspected; what was sent or opened in it was lost on a living server."""
    async with scene(shop, Shape(timeout=40), ROOM) as stage:
        for _ in range(3):
            stage.proxy.black_hole()
            await stage.during(0.4)
            await asyncio.sleep(3)

    assert wrong(stage.records) == [], stage.told()
    assert_orders_are_right(stage)
    assert max(one.took for one in stage.records) < MAX_WAIT / 2, stage.told()


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=by_name)
async def test_a_stall_fails_nothing_and_doubles_nothing(shop: Shop) -> None:
    """What was held arrives late, after the request may have been run again: still once each."""
    patience = {"HOLDFAST_MAX_WAIT_MS": "13000"}  # by default the stall ends in the moment it does
    async with scene(shop, Shape(timeout=20), ROOM | patience) as stage:
        stage.proxy.stall()
        await stage.during(10)
        await asyncio.sleep(2)

    assert wrong(stage.records) == [], stage.told()
    assert_orders_are_right(stage)


async def test_a_slow_database_is_not_taken_for_an_absent_one() -> None:
    """DB-12: half a second more on every round trip, and nothing is refused."""
    async with scene(ASYNCPG, Shape(rate=4, timeout=30)) as stage:
        stage.proxy.add(Latency(500))
        looking = asyncio.create_task(look(stage, 10))
        await stage.during(10)
        seen = await looking

    assert wrong(stage.records) == [], stage.told()
    assert seen["/_holdfast/api/health"] == {200}


# ── start and stop ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=by_name)
async def test_a_database_that_is_absent_at_start_is_waited_for(postgresql: PostgreSQL, shop: Shop) -> None:
    """BOOT-2: in development it listens, holds requests, and serves them when the database appears."""
    postgresql.stop("immediate")
    environment = {**shop.environment(postgresql), "HOLDFAST_START_WITHOUT_DATABASE": "true"}
    with running(shop, environment, ready=False) as one:
        one.await_port()
        async with aiohttp.ClientSession(one.url, timeout=aiohttp.ClientTimeout(20)) as session:
            asked = [asyncio.create_task(status_of(session, "/items/1")) for _ in range(20)]
            await asyncio.sleep(2)
            await asyncio.to_thread(postgresql.start)
            statuses = await asyncio.gather(*asked)

        assert statuses == [200] * 20, one.output


async def test_sigterm_during_an_outage_ends_everything_in_order(postgresql: PostgreSQL) -> None:
    """SHD-1, PRF-7: 200 held requests are told, 50 sockets closed with 1012, the exit takes under 2 s."""
    with running(ASYNCPG, ASYNCPG.environment(postgresql)) as one:
        timeout, connector = aiohttp.ClientTimeout(20), aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        async with aiohttp.ClientSession(one.url, timeout=timeout, connector=connector) as session:
            assert await status_of(session, "/items/1") == 200
            sockets = [await session.ws_connect("/ws") for _ in range(50)]
            await asyncio.to_thread(postgresql.stop, "immediate")
            asked = [asyncio.create_task(status_of(session, "/items/1")) for _ in range(200)]
            await held(session, 200)

            stopping = asyncio.create_task(asyncio.to_thread(one.stop))
            closed = [await receive_close(socket) for socket in sockets]
            statuses = await asyncio.gather(*asked)
            status, took = await stopping

    assert statuses == [503] * 200
    assert closed == [1012] * 50
    assert status == 0
    assert took < 2.0


async def status_of(session: aiohttp.ClientSession, path: str) -> int | str:
    """The status of one GET, or the name of what went wrong."""
    try:
        async with session.get(path) as answer:
            await answer.read()
            return answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__


async def held(session: aiohttp.ClientSession, count: int) -> None:
    """Return when *count* requests wait for the database."""
    waiting = None
    async with asyncio.timeout(10):
        while waiting != count:
            await asyncio.sleep(0.05)
            async with session.get("/_holdfast/api/health") as answer:
                waiting = (await answer.json())["database"]["waitingQueue"]


async def receive_close(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async with asyncio.timeout(10):
        await socket.receive()
    return socket.close_code
