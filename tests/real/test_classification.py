"""ERR-2, ERR-5, QRY-3: what a real PostgreSQL raises through each driver means the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import psycopg
import psycopg_pool
import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.servers import real_server
from holdfast.faults.category import Category, Fault, Outcome, Severity
from holdfast.faults.classify import classify
from holdfast.faults.redact import redact_text

SCHEMA = """
    CREATE TABLE shops (id int PRIMARY KEY);
    CREATE TABLE items (
        id int PRIMARY KEY, name varchar(20) NOT NULL UNIQUE, shop int REFERENCES shops,
        count int CHECK (count > 0)
    );
    CREATE UNIQUE INDEX ON items (shop, lower(name));
    INSERT INTO shops VALUES (1);
    INSERT INTO items VALUES (1, 'zq7rope', 1, 1), (2, 'zq7anchor', 1, 1);
    CREATE ROLE crowd LOGIN PASSWORD 'hunter2' CONNECTION LIMIT 0;
"""

Run = Callable[[str], Awaitable[object]]
Session = Callable[[str], AbstractAsyncContextManager[Run]]


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Run]:
    connection = await asyncpg.connect(url)
    try:
        yield connection.execute
    finally:
        connection.terminate()


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[Run]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    try:
        yield connection.execute
    finally:
        await connection.close()


def by_sqlalchemy(driver: str) -> Session:
    @asynccontextmanager
    async def session(url: str) -> AsyncIterator[Run]:
        engine = create_async_engine(
            url.replace("postgresql://", f"postgresql+{driver}://"),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )
        try:
            async with engine.connect() as connection:
                yield connection.exec_driver_sql
        finally:
            await engine.dispose()

    return session


SESSIONS: dict[str, Session] = {
    "asyncpg": by_asyncpg,
    "psycopg": by_psycopg,
    "sqlalchemy+asyncpg": by_sqlalchemy("asyncpg"),
    "sqlalchemy+psycopg": by_sqlalchemy("psycopg"),
}


@pytest.fixture(params=SESSIONS)
def session(request: pytest.FixtureRequest) -> Session:
    return SESSIONS[request.param]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One that asks for a password; leave it as you found it."""
    with real_server("postgresql", password="hunter2") as server:
        server.execute(SCHEMA)
        yield server


@pytest.fixture
def url(server: PostgreSQL) -> str:
    return server.url(driver=None)


async def raised(run: Run, *statements: str) -> Exception:
    """What the last of *statements* raises."""
    for statement in statements[:-1]:
        await run(statement)
    with pytest.raises(Exception) as told:
        await run(statements[-1])
    return told.value


async def refused(session: Session, url: str) -> Fault:
    with pytest.raises(Exception) as told:
        async with session(url):
            pass
    return classify(told.value, database=True)


REFUSALS = {
    "unique": ("INSERT INTO items VALUES (3, 'zq7rope')", "23505", "conflict", 409, ("name",)),
    "unique expression": (
        "INSERT INTO items VALUES (3, 'ZQ7Rope', 1)", "23505", "conflict", 409, ("shop", "name"),
    ),
    "not null": ("INSERT INTO items VALUES (3, NULL)", "23502", "validation", 422, ("name",)),
    "foreign key": ("INSERT INTO items VALUES (3, 'zq7x', 9)", "23503", "conflict", 409, ("shop",)),
    "still referenced": ("DELETE FROM shops", "23503", "conflict", 409, ("id",)),
    "check": ("INSERT INTO items VALUES (3, 'zq7x', 1, 0)", "23514", "validation", 422, ("count",)),
    "too long": ("INSERT INTO items VALUES (3, repeat('zq7', 20))", "22001", "validation", 422, ()),
    "no number": ("SELECT 'zq7'::int", "22P02", "validation", 422, ()),
    "division": ("SELECT 1 / 0", "22012", "database_query", 500, ()),
    "syntax": ("SELEKT 1", "42601", "database_query", 500, ()),
    "no table": ("SELECT * FROM nowhere", "42P01", "database_query", 500, ()),
}  # fmt: skip


@pytest.mark.parametrize("scene", REFUSALS)
async def test_a_refused_statement_means_the_same_through_every_driver(
    session: Session, url: str, scene: str
) -> None:
    statement, code, category, status, fields = REFUSALS[scene]
    async with session(url) as run:
        exc = await raised(run, statement)
    fault = classify(exc)

    assert (fault.code, fault.category, fault.status, fault.fields) == (code, category, status, fields)
    assert (fault.transient, fault.lost, fault.outcome) == (False, False, Outcome.NOT_APPLIED)
    assert "zq7" not in redact_text(str(exc)).lower()


async def test_a_statement_that_takes_too_long_is_a_time_out(session: Session, url: str) -> None:
    async with session(url) as run:
        fault = classify(await raised(run, "SET statement_timeout = '20ms'", "SELECT pg_sleep(60)"))

    assert (fault.code, fault.category, fault.status) == ("57014", Category.TIMEOUT, 504)
    assert (fault.transient, fault.lost, fault.outcome) == (False, False, Outcome.NOT_APPLIED)


async def test_a_server_that_became_read_only_is_there_and_may_write_again(
    session: Session, url: str
) -> None:
    """DB-8: a demoted primary, or one whose disk is nearly full."""
    async with session(url) as run:
        fault = classify(await raised(run, "SET default_transaction_read_only = on", "DELETE FROM items"))

    assert (fault.code, fault.category, fault.outcome) == ("25006", "database_connection", "not_applied")
    assert (fault.transient, fault.lost) == (True, False)


async def test_a_serialization_failure_is_worth_another_attempt(session: Session, url: str) -> None:
    async with session(url) as run, by_asyncpg(url) as other:
        await run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await run("SELECT count(*) FROM items")
        await other("UPDATE items SET count = count + 1 WHERE id = 1")
        fault = classify(await raised(run, "UPDATE items SET count = count + 1 WHERE id = 1"))
        await run("ROLLBACK")

    assert (fault.code, fault.category, fault.status) == ("40001", Category.CONFLICT, 503)
    assert (fault.transient, fault.lost, fault.outcome) == (True, False, Outcome.NOT_APPLIED)


async def test_the_victim_of_a_deadlock_is_worth_another_attempt(session: Session, url: str) -> None:
    async with session(url) as run, session(url) as other:
        for one, held in ((run, 1), (other, 2)):
            await one("SET deadlock_timeout = '10ms'")
            await one("BEGIN")
            await one(f"SELECT * FROM items WHERE id = {held} FOR UPDATE")
        ends = await asyncio.gather(
            wanted(run, "SELECT * FROM items WHERE id = 2 FOR UPDATE"),
            wanted(other, "SELECT * FROM items WHERE id = 1 FOR UPDATE"),
        )
    (fault,) = [classify(one) for one in ends if one is not None]

    assert (fault.code, fault.category, fault.status) == ("40P01", Category.CONFLICT, 503)
    assert (fault.transient, fault.lost, fault.outcome) == (True, False, Outcome.NOT_APPLIED)


async def wanted(run: Run, statement: str) -> Exception | None:
    """Get what *statement* locks and give it back at once; the exception of who does not get it."""
    try:
        await run(statement)
    except Exception as exc:
        return exc
    finally:
        await run("ROLLBACK")
    return None


async def test_a_lock_that_another_holds_is_worth_another_attempt(session: Session, url: str) -> None:
    async with session(url) as run, by_asyncpg(url) as other:
        await other("BEGIN")
        await other("SELECT * FROM items WHERE id = 1 FOR UPDATE")
        fault = classify(await raised(run, "SELECT * FROM items WHERE id = 1 FOR UPDATE NOWAIT"))

    assert (fault.code, fault.transient, fault.lost) == ("55P03", True, False)


async def until(server: PostgreSQL, condition: str) -> None:
    """Return when *condition* holds of a row of pg_stat_activity."""
    give_up_at = time.monotonic() + 10
    while server.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}") == [("0",)]:
        assert time.monotonic() < give_up_at, f"no session with {condition}"
        await asyncio.sleep(0.01)


async def test_a_session_that_was_ended_in_the_middle_is_lost_and_its_outcome_open(
    session: Session, server: PostgreSQL, url: str
) -> None:
    """57P01, as a restart of the server does it to every session."""
    async with session(url) as run:
        asleep = asyncio.create_task(raised(run, "SELECT pg_sleep(61)"))
        await until(server, "query = 'SELECT pg_sleep(61)' AND state = 'active'")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(61)'")
        first = classify(await asleep)
        second = classify(await raised(run, "SELECT 1"))

    assert (first.category, first.status, first.outcome) == ("database_connection", 503, "unknown")
    assert (first.transient, first.lost) == (True, True)
    assert (second.category, second.transient, second.lost) == ("database_connection", True, True)
    assert second.outcome is Outcome.NOT_APPLIED


async def test_a_server_that_died_under_a_statement_is_lost_and_its_outcome_open(
    session: Session, postgresql: PostgreSQL
) -> None:
    async with session(postgresql.url(driver=None)) as run:
        asleep = asyncio.create_task(raised(run, "SELECT pg_sleep(61)"))
        await until(postgresql, "query = 'SELECT pg_sleep(61)' AND state = 'active'")
        postgresql.kill()
        fault = classify(await asleep, database=True)

    assert (fault.category, fault.transient, fault.lost) == ("database_connection", True, True)
    assert fault.outcome is Outcome.UNKNOWN


async def test_a_port_where_nobody_listens_got_nothing(session: Session) -> None:
    fault = await refused(session, f"postgresql://postgres@127.0.0.1:{quiet_port()}/postgres")

    assert (fault.category, fault.status, fault.outcome) == ("database_connection", 503, "not_applied")
    assert (fault.transient, fault.lost) == (True, True)


async def test_a_host_that_has_no_address_got_nothing(session: Session) -> None:
    fault = await refused(session, "postgresql://postgres@nowhere.invalid:5432/postgres")

    assert (fault.category, fault.transient, fault.outcome) == ("database_connection", True, "not_applied")


async def test_a_wrong_password_is_somebody_s_to_mend(session: Session, server: PostgreSQL) -> None:
    fault = await refused(session, server.url(driver=None, password="wrong"))

    assert (fault.code, fault.category, fault.severity) == ("28P01", "authentication", Severity.CRITICAL)
    assert (fault.transient, fault.lost, fault.outcome) == (False, False, Outcome.NOT_APPLIED)


async def test_a_missing_role_is_somebody_s_to_mend(session: Session, shared_postgresql: PostgreSQL) -> None:
    fault = await refused(session, shared_postgresql.url(driver=None, user="nobody"))

    assert (fault.code, fault.category, fault.transient) == ("28000", "authentication", False)


async def test_a_missing_database_is_somebody_s_to_mend(session: Session, server: PostgreSQL) -> None:
    fault = await refused(session, server.url(driver=None, database="nothing"))

    assert (fault.code, fault.category, fault.severity) == ("3D000", "database_connection", "critical")
    assert (fault.transient, fault.lost) == (False, False)


async def test_a_database_that_lets_nobody_in_for_a_while_is_away(
    session: Session, server: PostgreSQL
) -> None:
    """DB-6: ALLOW_CONNECTIONS false, as maintenance sets it."""
    server.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
    try:
        fault = await refused(session, server.url(driver=None, database="closed"))
    finally:
        server.execute("DROP DATABASE closed")

    assert (fault.category, fault.status, fault.outcome) == ("database_connection", 503, "not_applied")
    assert (fault.transient, fault.lost) == (True, True)


async def test_one_connection_too_many_is_overload_and_passes(session: Session, server: PostgreSQL) -> None:
    fault = await refused(session, server.url(driver=None, user="crowd", password="hunter2"))

    assert (fault.code, fault.category, fault.status) == ("53300", "overload", 503)
    assert (fault.transient, fault.lost, fault.outcome) == (True, False, Outcome.NOT_APPLIED)


async def test_an_exhausted_pool_is_overload_and_no_loss(url: str) -> None:
    engine = create_async_engine(
        url.replace("postgresql", "postgresql+asyncpg", 1), pool_size=1, max_overflow=0, pool_timeout=0.01
    )
    async with engine.connect():
        fault = await refused(lambda _: engine.connect(), url)  # type: ignore[arg-type]
    await engine.dispose()

    assert (fault.category, fault.status, fault.outcome) == ("overload", 503, "not_applied")
    assert (fault.transient, fault.lost) == (False, False)


async def test_psycopg_s_exhausted_pool_is_overload_and_no_loss(url: str) -> None:
    pool = psycopg_pool.AsyncConnectionPool(url, min_size=1, max_size=1, open=False)
    async with pool, pool.connection():
        fault = await refused(lambda _: pool.connection(timeout=0.01), url)  # type: ignore[arg-type]

    assert (fault.category, fault.transient, fault.lost) == ("overload", False, False)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_plan_that_the_schema_outran_is_worth_another_attempt(url: str, driver: str) -> None:
    async with SESSIONS[driver](url) as run:
        await run("CREATE TABLE IF NOT EXISTS plans (id int)")
        await run("PREPARE outrun AS SELECT * FROM plans")
        await run("EXECUTE outrun")
        await run("ALTER TABLE plans ADD COLUMN IF NOT EXISTS name text")
        fault = classify(await raised(run, "EXECUTE outrun"))
        await run("DROP TABLE plans")

    assert (fault.category, fault.transient, fault.lost) == ("database_query", True, False)
