"""Connections that a living server does not answer on: their bytes were lost, others' were not (DB-12, DB-3).

A moment's silence ends before anybody suspects anything. What was under way in it waits on
connections that will never speak again, while everything else goes on as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic

import pytest
from hooked import (
    POSTGRESQL,
    QUICK,
    Flavour,
    Hooked,
    hooked,
    insert,
    isolated,
    read,
    requested,
    until,
    watched,
)
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from transacting import told

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.drill.toxics import Timeout
from holdfast.events import ConnectionGivenUp, DatabaseLost

EACH = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
RULES = replace(QUICK, max_wait=1.5)


@pytest.fixture
async def shop(postgresql: PostgreSQL, proxy: Proxy, flavour: Flavour) -> AsyncIterator[Hooked]:
    with isolated() as registry, watched(registry, RULES):
        async with hooked(flavour, flavour.url(postgresql, proxy)) as one:
            yield one


async def lose_bytes_of(work: asyncio.Task[object], proxy: Proxy) -> None:
    """Let what *work* sends be lost, and its connection with it; nobody else notices."""
    vanished = proxy.counters.vanished
    while proxy.counters.vanished == vanished:
        assert not work.done()
        await asyncio.sleep(0.001)
    proxy.heal()


async def serve_others(shop: Hooked, work: asyncio.Task[object]) -> None:
    """Others are answered until *work* is done: nothing speaks against the database."""
    while not work.done():
        assert await shop.run(read) == 1
        await asyncio.sleep(0.02)


async def hear_of_others(shop: Hooked) -> None:
    """Nothing speaks against the database, and nothing is sent to it."""
    while True:
        shop.database.heard_at = monotonic()
        await asyncio.sleep(0.02)


@EACH
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_statement_that_was_lost_is_not_waited_for(shop: Hooked, proxy: Proxy, method: str) -> None:
    """What can be run again learns it soon. For what cannot, it may be only late: that is left alone as
    long as anyone may wait."""

    def work(connection) -> None:
        connection.execute(text("SELECT 1"))
        proxy.black_hole()
        insert(connection, "lost")

    with told(ConnectionGivenUp) as given_up, told(DatabaseLost) as lost:
        began = monotonic()
        with requested(method):
            working = asyncio.create_task(shop.run(work))
            await lose_bytes_of(working, proxy)
        await serve_others(shop, working)
        took = monotonic() - began

    with pytest.raises(DBAPIError):
        working.result()
    assert [one.database for one in given_up] == ["shop"]
    assert lost == []
    assert (took < RULES.max_wait) is (method == "GET")


@EACH
async def test_a_statement_whose_answer_was_lost_is_not_waited_for(shop: Hooked, proxy: Proxy) -> None:
    """asyncpg has a new statement described before it sends the rest: until then the server is neither
    idle nor at work, it waits for us in the middle of a message."""

    def work(connection) -> None:
        connection.execute(text("SELECT 1"))
        proxy.add(Timeout(0))
        connection.execute(text("SELECT 2 AS never_asked_before"))

    with told(ConnectionGivenUp) as given_up:
        began = monotonic()
        with requested("GET"):
            working = asyncio.create_task(shop.run(work))
            await lose_bytes_of(working, proxy)
        await serve_others(shop, working)
        took = monotonic() - began

    with pytest.raises(DBAPIError):
        working.result()
    assert [one.database for one in given_up] == ["shop"]
    assert took < RULES.max_wait + 0.5


@pytest.mark.parametrize("flavour", [one for one in POSTGRESQL if not one.is_async], ids=str)
async def test_a_thread_that_fetches_from_a_lost_cursor_is_freed(shop: Hooked, proxy: Proxy) -> None:
    """A thread cannot be cancelled: enough of them, and every sync endpoint stands still."""

    def work(connection) -> None:
        connection = connection.execution_options(yield_per=10)
        rows = connection.execute(text("SELECT repeat('x', 1000) FROM generate_series(1, 1000)"))
        next(rows)
        cursor = rows.cursor
        proxy.black_hole()
        try:
            rows.all()
        finally:
            cursor._closed = True  # SQLAlchemy leaves it, and psycopg warns of that

    with told(ConnectionGivenUp) as given_up:
        with requested("GET") as request:
            request.started = True  # it streams: nobody runs it again
            working = asyncio.create_task(shop.run(work))
            await lose_bytes_of(working, proxy)
        await serve_others(shop, working)

    assert isinstance(working.exception(), DBAPIError)
    assert [one.database for one in given_up] == ["shop"]


@EACH
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_login_that_was_lost_is_made_again(shop: Hooked, proxy: Proxy, method: str) -> None:
    """Whoever waits for it does not notice: no statement of theirs has been sent on it."""
    await shop.dispose()
    with told(ConnectionGivenUp) as given_up, requested(method):
        proxy.black_hole()
        working = asyncio.create_task(shop.run(read))
        await lose_bytes_of(working, proxy)
        one = await working

    assert one == 1
    assert [one.server_waits_s for one in given_up] == [None]


@EACH
async def test_a_silence_that_takes_our_own_login_too_is_not_waited_for(shop: Hooked, proxy: Proxy) -> None:
    """Silences in quick succession: the login that is to show that another was lost is lost as well."""
    await shop.dispose()
    with requested("GET"):
        proxy.black_hole()
        working = asyncio.create_task(shop.run(read))
        hearing = asyncio.create_task(hear_of_others(shop))
        await lose_bytes_of(working, proxy)
        proxy.black_hole()
        await lose_bytes_of(working, proxy)  # ours: nobody else sends anything
        began = monotonic()
        one = await working
        took = monotonic() - began
        hearing.cancel()

    assert one == 1
    assert took < RULES.trial


@EACH
async def test_a_statement_that_the_server_works_on_may_take_its_time(shop: Hooked) -> None:
    with told(ConnectionGivenUp) as given_up, requested("GET"):
        slept = await shop.run(lambda connection: connection.execute(text("SELECT pg_sleep(2)")).rowcount)

    assert (slept, given_up) == (1, [])


@EACH
async def test_the_server_says_who_waits_for_us(shop: Hooked, postgresql: PostgreSQL) -> None:
    """One that works is not named, nor one it does not know."""
    driver = shop.database.driver
    (link,) = shop.database.links.values()
    session = await driver.open()
    await asyncio.sleep(0.1)  # so that it has waited for a while
    waiting = await session.waiting([link.backend, 1, 2_000_000_000])
    working = asyncio.create_task(
        shop.run(lambda connection: connection.execute(text("SELECT pg_sleep(2)")).rowcount)
    )
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    await until(lambda: postgresql.execute(sleeping) == [("1",)])
    at_work = await session.waiting([link.backend])
    await session.ping()  # it is left as it was
    await session.close()
    await working

    assert list(waiting) == [link.backend]
    assert waiting[link.backend] > 0.05
    assert at_work == {}
