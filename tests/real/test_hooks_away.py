"""DB-5, DB-6, DB-10, DB-12: engines while their database is away, silent, or their caller has gone."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hooked import (
    ASYNCPG,
    POSTGRESQL,
    PSYCOPG,
    PSYCOPG_SYNC,
    Flavour,
    Hooked,
    hooked,
    isolated,
    placing,
    read,
    requested,
    until,
    watched,
)
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.faults.category import Category

every = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
tasks = pytest.mark.parametrize("flavour", [ASYNCPG, PSYCOPG], ids=str)
SHORT = 0.3


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
def way(shared_postgresql: PostgreSQL) -> Iterator[Proxy]:
    """A fault proxy before the shared server."""
    with shared_postgresql.proxied() as proxy:
        yield proxy


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, way: Proxy
) -> AsyncIterator[Hooked]:
    """With a pool of two and a watch; healed before it is left.

    Work runs on engines derived by execution options: they are hooked like the one they come from.
    """
    with watched(registry):
        url = flavour.url(shared_postgresql, way)
        async with hooked(flavour, url, pool_size=2, max_overflow=0, pool_timeout=20) as shop:
            try:
                yield shop
            finally:
                way.heal()
                await until(lambda: shop.database.settled)
                await until(lambda: shop.pool.checkedout() == 0)


async def refused(shop: Hooked, way: Proxy) -> None:
    """Return once the database is known to be away."""
    way.refuse()
    shop.database.broken("reset")
    await until(lambda: shop.database.away)


@every
async def test_while_it_is_away_a_request_that_can_be_run_again_is_refused_at_once(
    shop: Hooked, way: Proxy
) -> None:
    """No thread and no connection waits inside: the door is the place to wait."""
    await refused(shop, way)
    began = time.monotonic()
    with requested("GET") as request, pytest.raises(OperationalError, match="'shop' is away") as raised:
        await shop.run(read)

    ledger = request.ledger
    assert time.monotonic() - began < SHORT
    assert (ledger.attempts, ledger.sent, ledger.lost) == (0, 0, "shop")
    assert ledger.fault is not None
    assert (ledger.fault.category, ledger.fault.transient) == (Category.DATABASE_CONNECTION, True)
    assert ledger.error is raised.value.orig
    assert request.may_run_again()


@every
async def test_what_cannot_be_run_again_waits_inside_until_it_is_back(shop: Hooked, way: Proxy) -> None:
    await refused(shop, way)
    with requested("POST") as request:
        request.ledger.sent = 1
        waiting = asyncio.create_task(shop.run(read))
        await until(lambda: shop.database._waiters)
        way.heal()

        assert await asyncio.wait_for(waiting, 10) == 1
    assert request.ledger.fault is None


@every
async def test_it_waits_no_longer_than_its_deadline(shop: Hooked, way: Proxy) -> None:
    await refused(shop, way)
    with requested("POST", timeout=SHORT) as request:
        request.ledger.sent = 1
        began = time.monotonic()
        with pytest.raises(OperationalError, match="is away"):
            await shop.run(read)

    assert SHORT - 0.05 < time.monotonic() - began < SHORT + 1
    assert shop.database._waiters == {}


@every
async def test_work_outside_requests_waits_until_it_is_back(shop: Hooked, way: Proxy) -> None:
    await refused(shop, way)
    waiting = asyncio.create_task(shop.run(read))
    await until(lambda: shop.database._waiters)
    way.heal()

    assert await asyncio.wait_for(waiting, 10) == 1


@every
async def test_when_we_stop_nobody_waits_any_more(shop: Hooked, way: Proxy) -> None:
    await refused(shop, way)
    waiting = asyncio.create_task(shop.run(read))
    await until(lambda: shop.database._waiters)
    shop.database.dismiss()

    with pytest.raises(OperationalError, match="is away"):
        await asyncio.wait_for(waiting, 5)


def sleep(connection: Connection) -> Any:
    return connection.scalar(text("SELECT 1 FROM pg_sleep(60)"))


def busy(shop: Hooked, number: int = 1) -> bool:
    """Whether *number* statements are outstanding."""
    return sum(1 for link in shop.database.links.values() if link.began) == number


@pytest.mark.parametrize("flavour", [PSYCOPG_SYNC], ids=str)
async def test_a_blocked_thread_returns_when_the_database_falls_silent(shop: Hooked, way: Proxy) -> None:
    """DB-12: at once, instead of waiting for the kernel."""
    with requested("GET") as request:
        asleep = asyncio.create_task(shop.run(sleep))
        await until(lambda: busy(shop))
        way.black_hole()
        with pytest.raises(DBAPIError):
            await asyncio.wait_for(asleep, 5)

    assert request.ledger.lost == "shop"
    assert request.may_run_again()


@every
async def test_whoever_is_connecting_returns_when_the_database_falls_silent(shop: Hooked, way: Proxy) -> None:
    """DB-12: a login that meets silence."""
    await shop.run(lambda connection: connection.invalidate())
    way.black_hole()
    with requested("GET") as request, pytest.raises(OperationalError, match="is away"):
        await asyncio.wait_for(shop.run(read), 5)

    assert request.may_run_again()
    assert shop.database.connecting == {}


@tasks
async def test_whoever_waits_for_a_silent_pool_is_let_go(shop: Hooked, way: Proxy) -> None:
    """DB-12: the connections it hopes for will never come back."""
    with requested("GET"):
        holders = [asyncio.create_task(shop.run(sleep)) for _ in range(2)]
        await until(lambda: busy(shop, 2))
    with requested("GET") as request:
        way.black_hole()
        with pytest.raises(OperationalError, match="is away"):
            await asyncio.wait_for(shop.run(read), 5)

    assert (request.ledger.sent, request.ledger.lost) == (0, "shop")
    way.heal()
    await _end(holders)


async def _end(holders: list[asyncio.Task[Any]]) -> None:
    for one in holders:
        one.cancel()
    await asyncio.gather(*holders, return_exceptions=True)


@tasks
async def test_a_task_that_is_cancelled_in_a_query_leaks_nothing(shop: Hooked) -> None:
    """DB-10."""
    for _ in range(3):
        asleep = asyncio.create_task(shop.run(sleep))
        await until(lambda: busy(shop))
        await _end([asleep])

    assert shop.pool.checkedout() == 0
    assert busy(shop, 0)
    assert await shop.run(read) == 1


@tasks
async def test_a_task_that_is_cancelled_while_it_waits_for_the_pool_leaks_nothing(shop: Hooked) -> None:
    """DB-10."""
    holders = [asyncio.create_task(shop.run(sleep)) for _ in range(2)]
    await until(lambda: busy(shop, 2))
    waiting = [asyncio.create_task(shop.run(read)) for _ in range(3)]
    await until(lambda: len(shop.database.connecting) == 3)
    await _end(waiting)
    await _end(holders)

    assert (shop.pool.checkedout(), shop.database.connecting) == (0, {})
    assert await asyncio.gather(shop.run(read), shop.run(read)) == [1, 1]


@tasks
async def test_a_task_that_is_cancelled_as_its_turn_comes_leaks_nothing(shop: Hooked) -> None:
    """DB-10: in any order of what happens in one turn of the loop."""
    for turns in range(8):
        async with asyncio.timeout(10):
            asleep = [asyncio.create_task(shop.run(read)) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            await _end(asleep)

    assert (shop.pool.checkedout(), shop.database.connecting) == (0, {})
    assert await asyncio.gather(shop.run(read), shop.run(read)) == [1, 1]


@tasks
async def test_a_task_that_is_cancelled_while_it_connects_leaks_nothing(
    shop: Hooked, way: Proxy, shared_postgresql: PostgreSQL
) -> None:
    """DB-10."""
    await shop.run(lambda connection: connection.invalidate())
    way.stall()
    connecting = asyncio.create_task(shop.run(read))
    await until(lambda: shop.database.connecting)
    connecting.cancel()
    with suppress(asyncio.CancelledError, DBAPIError):
        await asyncio.wait_for(connecting, 8)
    way.heal()

    assert (shop.pool.checkedout(), shop.database.connecting) == (0, {})
    assert await shop.run(read) == 1
    assert len(shop.database.links) == 1


@every
async def test_who_finds_out_that_it_has_gone_waits_like_those_after(shop: Hooked, way: Proxy) -> None:
    """REQ-4: it has committed, so it cannot be run again, and it was let down by a few milliseconds."""
    tell = shop.database._tell
    assert tell is not None

    def noted(*what: Any) -> None:
        way.heal()
        tell(*what)

    with requested("POST", key="k") as request:
        await shop.run(placing(uuid.uuid4().hex))
        assert not request.may_run_again()
        way.refuse()
        for link in list(shop.database.links.values()):
            link.abort()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shop.database, "_tell", noted)  # nobody knows before it is told
            assert await shop.run(read) == 1
