"""Pings on pooled connections, SQLAlchemy's own (`pool_pre_ping`) and ours: one that is lost is noticed
like any statement, and what it was to test is replaced (DB-12, DB-4)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from time import monotonic

import pytest
from hooked import (
    POSTGRESQL,
    PSYCOPG_SYNC,
    SOON,
    Flavour,
    Hooked,
    hooked,
    isolated,
    read,
    requested,
    until,
    watched,
)
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from transacting import told

from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.events import DatabaseLost

EACH = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
WHOSE = pytest.mark.parametrize("pre_ping", [True, False], ids=["theirs", "ours"])


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
async def shop(
    registry: Registry, postgresql: PostgreSQL, proxy: Proxy, flavour: Flavour, pre_ping: bool
) -> AsyncIterator[Hooked]:
    with watched(registry):
        url = flavour.url(postgresql, proxy)
        async with hooked(flavour, url, pool_size=2, pool_pre_ping=pre_ping) as one:
            yield one


@pytest.fixture
def way(shared_postgresql: PostgreSQL) -> Iterator[Proxy]:
    """A fault proxy before the shared server."""
    with shared_postgresql.proxied() as proxy:
        yield proxy


@pytest.fixture
async def pinging(
    registry: Registry, shared_postgresql: PostgreSQL, way: Proxy, flavour: Flavour
) -> AsyncIterator[Hooked]:
    """A shop whose application pings, and whom nobody watches."""
    async with hooked(flavour, flavour.url(shared_postgresql, way), pool_pre_ping=True) as one:
        yield one


def nothing(connection: Connection) -> None:
    """Take a connection and give it back."""


def pings(data: bytes) -> bool:
    """Whether *data* is SQLAlchemy's ping: an empty statement."""
    return b";" in data


@contextmanager
def loss_noticed(shop: Hooked, proxy: Proxy) -> Iterator[list[bool]]:
    """A thread that ends a black hole once the loss was noticed; it says whether that was soon. What is
    not noticed is ended, so that the test is."""
    noticed: list[bool] = []

    def heal() -> None:
        at_most = monotonic() + SOON
        while not shop.database.away and monotonic() < at_most:
            threading.Event().wait(0.01)
        noticed.append(shop.database.away)
        proxy.heal()
        if not noticed[0]:
            for link in list(shop.database.links.values()):
                link.abort()

    thread = threading.Thread(target=heal)
    thread.start()
    try:
        yield noticed
    finally:
        thread.join()


@EACH
@WHOSE
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_ping_that_was_lost_costs_its_connection_and_no_request(
    shop: Hooked, proxy: Proxy, method: str
) -> None:
    """DB-12: the server lives and answers others; whoever was to get that connection gets another."""
    (link,) = shop.database.links.values()
    link.used_at -= 2  # so that we should ping it too
    with told(DatabaseLost) as lost, requested(method) as request:
        vanished = proxy.counters.vanished
        proxy.black_hole()
        working = asyncio.create_task(shop.run(read))
        await until(lambda: proxy.counters.vanished > vanished)
        proxy.heal()
        async with asyncio.timeout(SOON):
            one = await working

    assert one == 1
    assert link.cut
    assert lost == []
    assert (request.ledger.fault, request.ledger.sent) == (None, 1)


@WHOSE
@pytest.mark.parametrize("flavour", [PSYCOPG_SYNC], ids=str)
async def test_a_lost_ping_does_not_block_the_loop_for_good(shop: Hooked, proxy: Proxy) -> None:
    """DB-12: an engine of threads, used by a task: nobody is served until the watch frees it."""
    (link,) = shop.database.links.values()
    link.used_at -= 2
    proxy.black_hole()
    with loss_noticed(shop, proxy) as noticed, requested("GET"), pytest.raises(OperationalError):
        shop.engine.connect()

    assert noticed == [True]
    await until(lambda: not shop.database.away)
    assert await shop.run(read) == 1


@EACH
async def test_a_connection_of_before_an_outage_is_not_pinged(pinging: Hooked, way: Proxy) -> None:
    """DB-4, DB-6: in a silent outage a ping on it would only be waited for."""
    (link,) = pinging.database.links.values()
    pinging.database.generation += 1
    way.cut_when(pings, before=True)
    await pinging.run(nothing)

    assert link.cut
    assert way.counters.cuts == 0
    assert [one.generation for one in pinging.database.links.values()] == [1]


@EACH
async def test_a_connection_that_was_pinged_is_not_pinged_again(pinging: Hooked, way: Proxy) -> None:
    """DB-4: however long it has lain idle."""
    (link,) = pinging.database.links.values()

    async def sent() -> int:
        before = way.counters.upstream
        await pinging.run(nothing)
        return way.counters.upstream - before

    await sent()  # the statement is prepared
    used_just_now = await sent()
    heard = pinging.database.heard_at
    link.used_at -= 2

    assert 0 < used_just_now == await sent()
    assert pinging.database.heard_at > heard
    assert list(pinging.database.links.values()) == [link]
    assert not link.pinging
