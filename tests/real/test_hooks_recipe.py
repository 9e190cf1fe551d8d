"""DB-2, REQ-4: connections that the application opened past us are seen like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import psycopg
import pytest
from hooked import ASYNCPG, PSYCOPG_SYNC, Flavour, Hooked, isolated, names, placing, prepare, read, requested
from sqlalchemy import create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.databases.adopt import REGISTRY
from holdfast.databases.sqlalchemy import adopt
from holdfast.drill.postgresql import PostgreSQL
from holdfast.policy.replay import Commit


def by_creator(url: str) -> Any:
    plain = url.replace("+psycopg", "")
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(plain))


def by_async_creator(url: str) -> Any:
    plain = url.replace("+asyncpg", "")
    return create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(plain))


def by_listener(url: str) -> Any:
    engine = create_engine(url)
    plain = url.replace("+psycopg", "")
    event.listen(engine, "do_connect", lambda *_: psycopg.connect(plain))
    return engine


async def before_it_was_known(url: str) -> Any:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(read)
    return engine


RECIPES: list[tuple[Flavour, Any]] = [
    (PSYCOPG_SYNC, by_creator),
    (ASYNCPG, by_async_creator),
    (PSYCOPG_SYNC, by_listener),
    (ASYNCPG, before_it_was_known),
]


class Known(Hooked):
    def __init__(self, flavour: Flavour, engine: Any) -> None:
        self.flavour, self.given = flavour, engine
        self.engine = getattr(engine, "sync_engine", engine)
        adopt(engine, "shop")


@pytest.fixture(params=RECIPES, ids=lambda one: one[1].__name__)
async def shop(postgresql: PostgreSQL, request: pytest.FixtureRequest) -> AsyncIterator[Known]:
    flavour, recipe = request.param
    made = recipe(flavour.url(postgresql))
    with isolated() as registry:
        registry.markers = replace(REGISTRY.markers, active=True)
        one = Known(flavour, await made if hasattr(made, "__await__") else made)
        try:
            await one.run(prepare)
            yield one
        finally:
            await one.dispose()
        assert one.database.links == {}


async def test_what_a_write_has_committed_is_in_its_requests_ledger(shop: Known) -> None:
    with requested("POST") as request:
        await shop.run(placing("a"))

        assert (request.ledger.sent > 0, request.ledger.commit) == (True, Commit.COMMITTED)
        assert not request.may_run_again()


async def test_a_loss_is_noticed_at_checkout(shop: Known, postgresql: PostgreSQL) -> None:
    (link,) = shop.database.links.values()
    postgresql.execute(f"SELECT pg_terminate_backend({link.backend})")

    assert await shop.run(read) == 1


async def test_keys_work_on_it(shop: Known) -> None:
    table = shop.database.markers
    assert table is not None
    assert await table.prepare()
    assert await table.look(["0" * 64]) == {}
    await table.close()


async def test_nothing_is_lost(shop: Known) -> None:
    await shop.run(placing("b"))

    assert await shop.run(names) == ["b"]
