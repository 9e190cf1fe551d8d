"""DB-6: engines whose name or password is not accepted any more, though it was before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from hooked import POSTGRESQL, Flavour, Hooked, hooked, isolated, names, requested
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from holdfast.context import Ledger
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


async def test_who_was_never_let_in_is_told_at_once(server: PostgreSQL, flavour: Flavour, url: str) -> None:
    """BOOT-2: a wrong name or password at the start is nothing that waiting mends."""
    server.execute("ALTER ROLE keeper NOLOGIN")
    shop = Hooked(flavour, url, "shop")
    ledger = await turned_away(shop)
    await shop.dispose()

    assert (ledger.fault, ledger.lost) == (None, None)
