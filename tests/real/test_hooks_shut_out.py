"""DB-6: engines whose name or password is not accepted any more, though it was before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from hooked import POSTGRESQL, Flavour, Hooked, hooked, isolated, names, requested, until, watched
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from holdfast.context import Ledger
from holdfast.databases.adopt import REGISTRY
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.servers import real_server

pytestmark = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    with isolated():
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with real_server("postgresql") as server:
        server.execute("CREATE ROLE keeper SUPERUSER LOGIN")
        yield server


@pytest.fixture
def url(server: PostgreSQL, flavour: Flavour) -> Iterator[str]:
    yield server.url(flavour.driver, user="keeper")
    server.execute("ALTER ROLE keeper LOGIN")


@asynccontextmanager
async def holding(shop: Hooked) -> AsyncIterator[None]:
    """Somebody else has the connection that lies in the pool."""
    if isinstance(shop.given, AsyncEngine):
        async with shop.given.connect():
            yield
    else:
        with shop.given.connect():
            yield


async def turned_away(shop: Hooked) -> Ledger:
    """What a request's ledger says of it."""
    with requested() as request, pytest.raises(DBAPIError):
        await shop.run(names)
    return request.ledger


async def test_who_was_let_in_before_takes_it_for_an_outage(
    server: PostgreSQL, flavour: Flavour, url: str
) -> None:
    async with hooked(flavour, url) as shop:
        await shop.dispose()
        server.execute("ALTER ROLE keeper NOLOGIN")
        ledger = await turned_away(shop)

    assert ledger.fault is not None
    assert (ledger.fault.transient, ledger.lost) == (True, "shop")
    assert shop.database.last_error is not None


async def test_connections_that_live_serve_on_and_whoever_finds_none_tries_again(
    server: PostgreSQL, flavour: Flavour, url: str
) -> None:
    """A password is changed while the old connections go on: nothing is away, and nothing may be cut."""
    async with hooked(flavour, url) as shop:
        server.execute("ALTER ROLE keeper NOLOGIN")
        async with holding(shop):
            ledger = await turned_away(shop)

    assert ledger.fault is not None
    assert (ledger.fault.transient, ledger.lost) == (True, None)
    assert shop.database.last_error is None


@pytest.mark.parametrize("session", [True, False], ids=["our-session-lives", "our-session-is-lost"])
async def test_one_connection_lost_costs_the_others_nothing_though_none_could_be_opened_again(
    server: PostgreSQL, flavour: Flavour, url: str, session: bool
) -> None:
    """The server lets nobody in any more and is there all the same: those who are in are left alone."""
    async with hooked(flavour, url) as shop:
        with watched(REGISTRY) as watch:
            await asyncio.wrap_future(watch.ask(watch.connect(shop.database, 5.0)))
            async with holding(shop):
                await shop.run(names)
            living, lost = shop.database.links.values()  # the watch looks at the longest unused
            server.execute("ALTER ROLE keeper NOLOGIN")
            terminate(server, f"pid = {lost.backend}" if session else f"pid <> {living.backend}")
            await until(lambda: lost.cut)  # the watch has seen it, and asked for more
            await until(lambda: shop.database.settled or shop.database.away)

            assert not shop.database.away
            assert not living.cut
            ledger = await turned_away(shop)  # the pool hands out the lost one first
            assert ledger.fault is not None
            assert (ledger.fault.transient, ledger.lost) == (True, None)
            assert await shop.run(names) == []


def terminate(server: PostgreSQL, which: str) -> None:
    """End sessions of the keeper's; returns when they are gone."""
    server.execute(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'keeper' AND {which}"
    )


async def test_who_was_never_let_in_is_told_at_once(server: PostgreSQL, flavour: Flavour, url: str) -> None:
    """BOOT-2: a wrong name or password at the start is nothing that waiting mends."""
    server.execute("ALTER ROLE keeper NOLOGIN")
    shop = Hooked(flavour, url, "shop")
    ledger = await turned_away(shop)
    await shop.dispose()

    assert (ledger.fault, ledger.lost) == (None, None)
