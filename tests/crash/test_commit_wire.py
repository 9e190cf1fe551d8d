"""COMMITs are told from everything else in the PostgreSQL protocol, and connections cut around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from wire import Moment, arm, is_commit

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.drill.servers import real_server

pytestmark = [pytest.mark.real, pytest.mark.slow]
DRIVERS = ("asyncpg", "psycopg")


def message(letter: bytes, body: bytes) -> bytes:
    return letter + (len(body) + 4).to_bytes(4, "big") + body


COMMIT = message(b"Q", b"COMMIT\0")
SYNC = message(b"S", b"")


@pytest.mark.parametrize(
    "data",
    [
        COMMIT,
        message(b"Q", b"COMMIT;\0"),
        message(b"Q", b"commit work;\0"),
        message(b"P", b"name\0COMMIT\0\0\0") + SYNC,
        message(b"P", b"\0COMMIT\0\0\0") + SYNC,
        SYNC + COMMIT,
    ],
)
def test_a_commit_is_recognised(data: bytes) -> None:
    """TXN-4: in the simple protocol and the extended one, alone or behind other messages."""
    assert is_commit(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        message(b"Q", b"ROLLBACK\0"),
        message(b"Q", b"COMMIT PREPARED 'one'\0"),
        message(b"Q", b"INSERT INTO notes VALUES ('COMMIT')\0"),
        message(b"B", b"\0\0COMMIT\0"),
        message(b"d", COMMIT),
        (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"),
        COMMIT[:-1],
        COMMIT[1:],
    ],
)
def test_nothing_else_is_taken_for_a_commit(data: bytes) -> None:
    """Not a value, not another command, not the request for TLS, not a torn message."""
    assert not is_commit(data)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with real_server("postgresql") as server:
        server.execute("CREATE TABLE notes (text text)")
        yield server


@pytest.fixture
def proxy(server: PostgreSQL) -> Iterator[Proxy]:
    server.execute("TRUNCATE notes")
    with server.proxied() as proxy:
        yield proxy


@asynccontextmanager
async def engine(server: PostgreSQL, proxy: Proxy, driver: str) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(server.url(driver, port=proxy.port))
    try:
        yield made
    finally:
        await made.dispose()


async def add(made: AsyncEngine, note: str) -> None:
    async with made.begin() as connection:
        await connection.execute(text("INSERT INTO notes VALUES (:note)"), {"note": note})


@pytest.mark.parametrize("driver", DRIVERS)
async def test_every_commit_of_a_driver_is_seen_once(server: PostgreSQL, proxy: Proxy, driver: str) -> None:
    """Three transactions, one of a value that looks like it, and one rolled back."""
    seen = []
    proxy.cut_when(lambda data: bool(is_commit(data) and seen.append(data)), before=True)
    async with engine(server, proxy, driver) as made:
        await asyncio.gather(add(made, "one"), add(made, "two"), add(made, "COMMIT"))
        async with made.connect() as connection:
            await connection.execute(text("INSERT INTO notes VALUES ('gone')"))
            await connection.rollback()

    assert len(seen) == 3


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("moment", "there"), [(Moment.BEFORE, 0), (Moment.ANSWER_LOST, 1)])
async def test_a_commit_that_was_cut_has_failed_for_its_client(
    server: PostgreSQL, proxy: Proxy, driver: str, moment: Moment, there: int
) -> None:
    """TXN-4: the client cannot tell the two apart, the table can."""
    async with engine(server, proxy, driver) as made:
        await add(made, "first")
        arm(proxy, moment, 1)
        with pytest.raises((DBAPIError, OSError)):
            await add(made, "cut")

    assert proxy.counters.cuts == 1
    assert server.execute("SELECT count(*) FROM notes WHERE text = 'cut'") == [(str(there),)]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_cut_after_the_answer_leaves_the_commit_whole(
    server: PostgreSQL, proxy: Proxy, driver: str
) -> None:
    """Exactly the answer passes: COMMIT succeeds, and the connection is gone."""
    async with engine(server, proxy, driver) as made:
        await add(made, "first")
        arm(proxy, Moment.AFTER, 1)
        await add(made, "cut after")
        with pytest.raises((DBAPIError, OSError)):
            await add(made, "on the dead connection")

    assert server.execute("SELECT text FROM notes ORDER BY text") == [("cut after",), ("first",)]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_a_cut_inside_resets_every_connection(server: PostgreSQL, proxy: Proxy, driver: str) -> None:
    """Whatever became of the COMMIT, it is there at most once, and nobody is connected any more."""
    async with engine(server, proxy, driver) as made:
        await asyncio.gather(add(made, "first"), add(made, "second"))
        connected = proxy.counters.open
        arm(proxy, Moment.INSIDE, 1)
        ended = await asyncio.gather(add(made, "cut"), return_exceptions=True)
        async with asyncio.timeout(5):
            while proxy.counters.resets < connected:
                await asyncio.sleep(0.01)

    assert connected == 2
    rows = server.execute("SELECT text FROM notes WHERE text = 'cut'")
    assert len(rows) <= 1
    assert rows == [("cut",)] or ended != [None]
