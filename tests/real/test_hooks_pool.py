"""DB-2, DB-3: engines are found by themselves; what they left to their library follows the settings."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hooked import (
    ASYNCPG,
    POSTGRESQL,
    PSYCOPG_SYNC,
    Flavour,
    Hooked,
    hooked,
    isolated,
    read,
    requested,
    until,
)
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.databases.adopt import PoolRules, Registry
from holdfast.databases.sqlalchemy import activate, adopt, deactivate
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy

RULES = PoolRules(active=True)
STARTED_WITH: dict[str, dict[str, Any]] = {
    "asyncpg": {"server_settings": {"statement_timeout": "7000"}},
    "psycopg": {"options": "-c statement_timeout=7000"},
}


@pytest.fixture
def registry() -> Iterator[Registry]:
    """With our rules, and found without being named."""
    with isolated() as registry:
        registry.rules = RULES
        activate()
        yield registry


def figures(pool: Any) -> tuple[Any, ...]:
    return pool.size(), pool._max_overflow, pool._timeout, pool._recycle


async def setting(shop: Hooked, name: str) -> str:
    return await shop.run(lambda connection: connection.scalar(text(f"SHOW {name}")))


every = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)


@every
async def test_what_the_application_left_alone_follows_our_defaults(
    registry: Registry, shared_postgresql: PostgreSQL, flavour: Flavour
) -> None:
    async with hooked(flavour, flavour.url(shared_postgresql)) as shop:
        assert figures(shop.pool) == (20, 0, 10.0, 7200.0)
        assert await setting(shop, "statement_timeout") == "30s"


@every
async def test_what_the_application_chose_wins(
    registry: Registry, shared_postgresql: PostgreSQL, flavour: Flavour
) -> None:
    chosen = {
        "pool_size": 3,
        "pool_timeout": 1,
        "pool_recycle": 60,
        "connect_args": STARTED_WITH[flavour.driver],
    }
    async with hooked(flavour, flavour.url(shared_postgresql), **chosen) as shop:
        assert figures(shop.pool) == (3, 10, 1, 60)  # the overflow is SQLAlchemy's own beside a chosen size
        assert await setting(shop, "statement_timeout") == "7s"


@every
async def test_without_a_holdfast_every_default_is_the_library_s(
    registry: Registry, shared_postgresql: PostgreSQL, flavour: Flavour
) -> None:
    registry.rules = PoolRules()
    async with hooked(flavour, flavour.url(shared_postgresql)) as shop:
        assert figures(shop.pool) == (5, 10, 30.0, -1)
        assert await setting(shop, "statement_timeout") == "0"


async def test_a_pool_of_another_kind_is_left_alone(
    registry: Registry, shared_postgresql: PostgreSQL
) -> None:
    async with hooked(ASYNCPG, ASYNCPG.url(shared_postgresql), poolclass=NullPool) as shop:
        assert isinstance(shop.pool, NullPool)
        assert await shop.run(read) == 1
        assert shop.database.links == {}
        assert shop.database.pool() == {"size": 0, "idle": 0, "active": 0, "waiting": 0, "max": 0}


@every
async def test_the_kernel_watches_the_sockets(
    registry: Registry, shared_postgresql: PostgreSQL, flavour: Flavour
) -> None:
    """DB-3: keepalive and TCP_USER_TIMEOUT, for sleep and silent drops."""
    async with hooked(flavour, flavour.url(shared_postgresql)) as shop:
        (link,) = shop.database.links.values()
        with socket.socket(fileno=os.dup(link._fileno())) as copy:
            assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000


@every
async def test_a_pooler_that_refuses_our_settings_gets_none(
    registry: Registry, shared_postgresql: PostgreSQL, flavour: Flavour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PgBouncer says `unsupported startup parameter`; then the application works as before."""
    asked: list[bool] = []

    def refusing(plain: Any) -> Any:
        def connect(*args: Any, **params: Any) -> Any:
            asked.append("statement_timeout" in repr(params))
            if asked[-1]:
                raise RuntimeError("unsupported startup parameter: statement_timeout")
            return plain(*args, **params)

        return connect

    create: Any = create_async_engine if flavour.is_async else create_engine
    engine = create(flavour.url(shared_postgresql))
    hooks = getattr(engine, "sync_engine", engine)._holdfast_hooks
    owner = getattr(hooks, "connecting", hooks)
    monkeypatch.setattr(owner, "_connect", refusing(owner._connect))
    shop = Hooked.__new__(Hooked)
    shop.given, shop.engine = engine, getattr(engine, "sync_engine", engine)
    try:
        assert await setting(shop, "statement_timeout") == "0"
        assert asked == [True, False]
        await shop.run(lambda connection: connection.invalidate())
        await shop.run(read)
        assert asked == [True, False, False]
    finally:
        await shop.dispose()


@pytest.mark.parametrize("again", [True, False])
async def test_threads_that_would_crowd_a_pool_are_sent_back_to_the_door(
    registry: Registry, shared_postgresql: PostgreSQL, again: bool
) -> None:
    """REQ-3: an application holds a connection from thread to thread, and needs one to give it back."""
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 30}
    async with hooked(PSYCOPG_SYNC, PSYCOPG_SYNC.url(shared_postgresql), **options) as shop:
        held = [await asyncio.to_thread(shop.engine.connect) for _ in range(2)]
        waiting = asyncio.create_task(shop.run(read))
        await until(lambda: shop.database.pool()["waiting"] == 1)
        assert not shop.database.crowded()
        with requested("POST") as request:
            request.ledger.sent = 0 if again else 1
            asking = asyncio.create_task(shop.run(read))
            if again:
                with pytest.raises(PoolTimeoutError, match="1 threads wait for the pool of 'shop' already"):
                    await asking
            else:  # what cannot be run again has to wait here
                await until(lambda: shop.database.pool()["waiting"] == 2)
                assert shop.database.crowded()
        for connection in held:
            await asyncio.to_thread(connection.close)
        assert await waiting == 1
        if not again:
            assert await asking == 1

    assert request.ledger.crowded == ("shop" if again else None)
    assert (request.ledger.attempts, request.ledger.lost) == (0, None)


async def test_engines_are_found_without_being_named(
    registry: Registry, shared_postgresql: PostgreSQL
) -> None:
    """DB-2."""
    one = create_engine(PSYCOPG_SYNC.url(shared_postgresql))
    two = create_async_engine(ASYNCPG.url(shared_postgresql, None).replace("/postgres", "/template1"))

    assert [found.name for found in registry] == ["postgres", "template1"]
    one.dispose()
    await two.dispose()


async def test_after_deactivation_engines_are_left_alone(
    registry: Registry, shared_postgresql: PostgreSQL
) -> None:
    deactivate()
    engine = create_engine(PSYCOPG_SYNC.url(shared_postgresql))

    assert len(registry) == 0
    assert not hasattr(engine, "_holdfast_hooks")


async def test_an_engine_can_ask_for_it_by_name(registry: Registry, shared_postgresql: PostgreSQL) -> None:
    """`create_engine(url, plugins=["holdfast"])`, once and not twice."""
    engine = create_engine(PSYCOPG_SYNC.url(shared_postgresql), plugins=["holdfast"])
    (database,) = registry

    assert len(database.drivers) == 1
    engine.dispose()


async def test_engines_to_the_same_place_share_a_database(
    registry: Registry, shared_postgresql: PostgreSQL
) -> None:
    """Whatever their drivers: what one of them learns, all know."""
    async with (
        hooked(ASYNCPG, ASYNCPG.url(shared_postgresql)) as one,
        hooked(PSYCOPG_SYNC, PSYCOPG_SYNC.url(shared_postgresql)) as two,
    ):
        assert one.database is two.database
        assert len(registry) == 1
        assert await one.run(read) == await two.run(read) == 1
        assert one.database.pool()["max"] == 40
        assert len(one.database.links) == 2
        await two.dispose()
        assert len(one.database.links) == 1
        await one.dispose()


@every
async def test_an_engine_derived_by_execution_options_is_the_same_to_us(
    registry: Registry, shared_postgresql: PostgreSQL, flavour: Flavour
) -> None:
    """It shares dialect and pool: hooked twice, every statement would count twice."""
    async with hooked(flavour, flavour.url(shared_postgresql)) as shop:
        derived = shop.engine.execution_options(a=1).execution_options(b=2)

        assert adopt(derived, "main") == "main"
        assert (len(registry), shop.database.name, len(shop.database.drivers)) == (1, "main", 1)
        with requested("POST") as request:
            await shop.run(read)
        assert request.ledger.sent == 1


async def test_several_databases_in_one_process_are_told_apart(
    registry: Registry, shared_postgresql: PostgreSQL
) -> None:
    with shared_postgresql.proxied() as way:
        await _side_by_side(registry, shared_postgresql, way)


async def _side_by_side(registry: Registry, server: PostgreSQL, way: Proxy) -> None:
    async with (
        hooked(ASYNCPG, ASYNCPG.url(server), name="shop") as shop,
        hooked(PSYCOPG_SYNC, PSYCOPG_SYNC.url(server, way), name="stock") as stock,
    ):
        stock.database.become(replace_away(stock))
        assert await shop.run(read) == 1
        assert [one.name for one in registry] == ["shop", "stock"]
        assert (shop.database.away, stock.database.away) == (False, True)


def replace_away(stock: Hooked) -> Any:
    """The state of a database that is away."""
    from holdfast.databases.monitor import Disconnected

    return replace(Disconnected(1, 0.0, "refused", attempts=1), since=stock.database.clock.monotonic())


async def test_urls_are_known_only_redacted(registry: Registry, shared_postgresql: PostgreSQL) -> None:
    """DB-9."""
    url = PSYCOPG_SYNC.url(shared_postgresql).replace("postgres@", "postgres:hunter2@")
    engine = create_engine(url)
    (database,) = registry

    assert "hunter2" not in database.target
    assert "postgres:***@" in database.target
    engine.dispose()
