"""REQ-4, TXN-4: what is written past SQLAlchemy, on a connection that SQLAlchemy uses as well."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from hooked import (
    POSTGRESQL,
    PSYCOPG_SYNC,
    Flavour,
    Hooked,
    hooked,
    insert,
    isolated,
    names,
    read,
    requested,
    watched,
)
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from holdfast.context import Marker
from holdfast.databases.adopt import REGISTRY
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from holdfast.policy.replay import Commit

Past = Callable[[Connection, str], None]
EACH = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
IN_THREADS = pytest.mark.parametrize("flavour", [PSYCOPG_SYNC], ids=str)


@pytest.fixture
async def shop(postgresql: PostgreSQL, proxy: Proxy, flavour: Flavour) -> AsyncIterator[Hooked]:
    with isolated() as registry:
        registry.markers = replace(REGISTRY.markers, active=True)
        with watched(registry):
            async with hooked(flavour, flavour.url(postgresql, proxy)) as one:
                yield one
                await one.database.markers.close()  # type: ignore[union-attr]


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def placed_past(connection: Connection, name: str) -> None:
    """Write *name* on the driver's own connection."""
    statement = f"INSERT INTO things VALUES ('{name}')"
    own = connection.connection.driver_connection
    running = own.execute(statement)
    if connection.dialect.is_async:
        await_only(running)


def by_cursor(connection: Connection, name: str) -> None:
    with connection.connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO things VALUES ('{name}')")


def by_copy(connection: Connection, name: str) -> None:
    with connection.connection.cursor() as cursor, cursor.copy("COPY things FROM STDIN") as copy:
        copy.write_row((name, None))


def by_many(connection: Connection, name: str) -> None:
    with connection.connection.cursor() as cursor:
        cursor.executemany("INSERT INTO things VALUES (%s)", [(name,)])


@EACH
async def test_a_write_past_it_is_not_run_again(shop: Hooked, proxy: Proxy, name: str) -> None:
    """Of a transaction that seemed to have only read, no COMMIT could be in doubt: it was run again."""

    def work(connection: Connection) -> None:
        read(connection)
        placed_past(connection, name)
        connection.commit()

    proxy.cut_when(commits, before=False)
    with requested("POST", key="k") as request, pytest.raises(DBAPIError):
        await shop.run(work)

    assert name in await shop.run(names)
    assert request.commit is Commit.UNKNOWN
    assert not request.may_run_again()


@EACH
async def test_its_commit_is_asked_about_under_a_key(shop: Hooked, proxy: Proxy, name: str) -> None:
    def work(connection: Connection) -> None:
        read(connection)
        placed_past(connection, name)
        connection.commit()

    with requested("POST", key="k") as request:
        request.marker = Marker("ab" * 32)
        await shop.run(lambda connection: (insert(connection, f"{name}!"), connection.commit()))
    proxy.cut_when(commits, before=False)
    with requested("POST", key="k") as request:
        request.marker = marker = Marker("cd" * 32)
        await shop.run(work)

    assert marker.ends == [Commit.COMMITTED]
    assert name in await shop.run(names)


@EACH
async def test_what_follows_it_is_not_the_first_of_its_transaction(
    shop: Hooked, proxy: Proxy, name: str
) -> None:
    """A first statement is sent again on another connection, where that write is not."""

    def work(connection: Connection) -> None:
        placed_past(connection, name)
        proxy.cut_when(lambda data: b"SELECT 1" in data, before=True)
        read(connection)

    with requested("POST") as request, pytest.raises(DBAPIError):
        await shop.run(work)

    assert not request.may_run_again()


@IN_THREADS
@pytest.mark.parametrize("past", [by_cursor, by_copy, by_many])
async def test_a_cursor_of_its_own_is_seen(shop: Hooked, name: str, past: Past) -> None:
    def work(connection: Connection) -> None:
        read(connection)
        past(connection, name)
        connection.commit()

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert name in await shop.run(names)
    assert request.ledger.sent == 2
    assert (request.commit, request.ledger.open_writes) == (Commit.UNKNOWN, 0)


@IN_THREADS
async def test_a_cursor_that_only_reads_leaves_no_doubt(shop: Hooked) -> None:
    def work(connection: Connection) -> None:
        read(connection)
        with connection.connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.tenant', '7', false)")

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert request.commit is Commit.NONE
    assert request.may_run_again()


@EACH
async def test_reading_past_it_stays_free(shop: Hooked) -> None:
    """It may stream what it reads: nothing of its answer is kept back."""

    def work(connection: Connection) -> None:
        read(connection)
        assert connection.connection.driver_connection is not None
        assert request.ledger.open_writes == 0

    with requested("GET") as request:
        await shop.run(work)

    assert request.may_run_again()


@IN_THREADS
async def test_the_applications_own_class_of_cursors_stays(shop: Hooked) -> None:
    def work(connection: Connection) -> str:
        return type(connection.connection.cursor()).__name__

    assert await shop.run(work) == "Cursor"
