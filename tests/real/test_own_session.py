"""The connections that holdfast itself has to a database: used past the pool, and never left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
from hooked import ASYNCPG, POSTGRESQL, SQLITE, Flavour, Hooked, hooked, isolated, until
from sqlalchemy import text

from holdfast.databases import sqlalchemy_markers
from holdfast.databases.adopt import MarkerRules, Registry
from holdfast.databases.markers import TABLE, Kept, Written
from holdfast.databases.sqlalchemy_markers import MarkerTable
from holdfast.databases.sqlalchemy_session import OwnSession
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.drill.toxics import Latency
from holdfast.faults.classify import classify

EACH = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


def session_of(shop: Hooked, *, once: bool = False) -> OwnSession:
    return OwnSession(shop.engine._holdfast_hooks, once=once)  # type: ignore[attr-defined]


@EACH
async def test_one_given_up_while_it_is_opened_leaves_no_connection(
    postgresql: PostgreSQL, proxy: Proxy, registry: Registry, flavour: Flavour
) -> None:
    """DB-10: closing it is cancelled too."""
    async with hooked(flavour, flavour.url(postgresql, proxy)) as shop:
        before = postgresql.execute(OTHERS)
        session = session_of(shop)
        proxy.add(Latency(200))
        asking = asyncio.create_task(session.run("SELECT 1"))
        await until(lambda: shop.database.connecting)
        asking.cancel()
        await asyncio.wait([asking])
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        proxy.heal()
        await until(lambda: not shop.database.connecting)
        await until(lambda: postgresql.execute(OTHERS) == before)


@EACH
async def test_what_it_reads_is_the_same_past_the_adapter(
    shared_postgresql: PostgreSQL, registry: Registry, flavour: Flavour
) -> None:
    async with hooked(flavour, flavour.url(shared_postgresql)) as shop:
        session = session_of(shop)
        placed = "$1" if flavour is ASYNCPG else "%s"
        statement = f"SELECT CAST({placed} AS text), 1.5::float8, NULL UNION ALL SELECT 'b', 2, 'c'"
        read = await session.read(statement, ("a",))
        ran, _ = await session.run(statement, ("a",))
        await session.close()

    assert [tuple(row) for row in read] == [tuple(row) for row in ran] == [("a", 1.5, None), ("b", 2.0, "c")]


@EACH
async def test_a_read_on_a_lost_connection_is_told_and_the_next_one_has_a_fresh_one(
    postgresql: PostgreSQL, proxy: Proxy, registry: Registry, flavour: Flavour
) -> None:
    async with hooked(flavour, flavour.url(postgresql, proxy)) as shop:
        session = session_of(shop)
        assert [tuple(row) for row in await session.read("SELECT 1", ())] == [(1,)]
        proxy.add(Latency(100))
        reading = asyncio.create_task(session.read("SELECT 1", ()))
        await asyncio.sleep(0)
        proxy.reset_all()
        with pytest.raises((asyncpg.PostgresError, psycopg.Error, OSError)) as lost:
            await reading
        proxy.heal()
        again = await session.read("SELECT 1", ())
        await session.close()

    assert classify(lost.value, database=True).lost
    assert [tuple(row) for row in again] == [(1,)]


@EACH
def test_closing_waits_for_whoever_still_talks_on_it(flavour: Flavour) -> None:
    """DB-10: a driver in C would go on in memory that is not its own any more."""
    child = Path(__file__).parent / "closing_child.py"
    command = [sys.executable, str(child), flavour.driver, "async" if flavour.is_async else "sync"]
    environment = {**os.environ, "MALLOC_PERTURB_": "165"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


async def test_a_machine_that_has_just_started_forgets_what_is_too_old(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TXN-4: monotonic time counts from the machine's start."""
    async with hooked(SQLITE, f"sqlite:///{tmp_path}/shop.db") as shop:
        table = MarkerTable(shop.engine._holdfast_hooks, MarkerRules(active=True))  # type: ignore[attr-defined]
        assert await table.prepare()
        old = (
            "INSERT INTO holdfast_idempotency (key, number, fingerprint, created_at) VALUES ('old', 0, '', 0)"
        )
        await shop.run(lambda connection: (connection.execute(text(old)), connection.commit()))
        monkeypatch.setattr(sqlalchemy_markers, "monotonic", lambda: 5.0)
        await table.keep([Written("new", "", Kept(201, (), b"", 0))])
        await table.close()
        keys = await shop.run(lambda connection: list(connection.scalars(text(f"SELECT key FROM {TABLE}"))))

    assert keys == ["new"]


@EACH
async def test_keeping_an_answer_leaves_nothing_set_for_whoever_comes_next(
    postgresql: PostgreSQL, registry: Registry, flavour: Flavour
) -> None:
    """TXN-4: behind a pooler in transaction mode that is the application, and its commits must last."""
    settings = "SELECT name, setting FROM pg_settings WHERE source IN ('session', 'interactive')"
    async with hooked(flavour, flavour.url(postgresql)) as shop:
        table = MarkerTable(shop.engine._holdfast_hooks, MarkerRules(active=True))  # type: ignore[attr-defined]
        assert await table.prepare()
        await table.look(["new"])
        await table.keep([Written("new", "", Kept(201, (), b"", 0))])
        left = [await session.run(settings) for session in table._sessions]
        await table.close()

    assert [rows for rows, _ in left] == [[], []]


@EACH
async def test_processes_that_make_the_table_at_once_all_have_it(
    postgresql: PostgreSQL, registry: Registry, flavour: Flavour
) -> None:
    """REQ-5: PostgreSQL tells all but one of a duplicate, of the table or of its index."""
    async with hooked(flavour, flavour.url(postgresql)) as shop:
        for _ in range(10):
            hooks = shop.engine._holdfast_hooks  # type: ignore[attr-defined]
            tables = [MarkerTable(hooks, MarkerRules(active=True)) for _ in range(6)]
            assert await asyncio.gather(*(table.prepare() for table in tables)) == [True] * 6
            postgresql.execute(f"DROP TABLE {TABLE}")
