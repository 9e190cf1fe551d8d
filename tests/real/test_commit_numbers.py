"""TXN-4: numbers of transactions, which a crash takes off the disk and a server gives out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hooked import (
    POSTGRESQL,
    Flavour,
    Hooked,
    hooked,
    insert,
    isolated,
    names,
    placing,
    requested,
    until,
    watched,
)
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from holdfast.databases.adopt import REGISTRY
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from holdfast.policy.replay import Commit

SLOW_COMMIT = """
DROP TRIGGER IF EXISTS slow ON things;
CREATE OR REPLACE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql
 AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
 FOR EACH ROW WHEN (NEW.name = 'lost') EXECUTE FUNCTION rest();
"""
COMMITTING = "SELECT 1 FROM pg_stat_activity WHERE query ILIKE 'COMMIT%' AND state = 'active'"


@pytest.fixture
async def shop(postgresql: PostgreSQL, proxy: Proxy, flavour: Flavour) -> AsyncIterator[Hooked]:
    with isolated() as registry:
        registry.markers = replace(REGISTRY.markers, active=True, commit_status=True)
        with watched(registry):
            async with hooked(flavour, flavour.url(postgresql, proxy)) as one:
                await asyncio.to_thread(postgresql.execute, SLOW_COMMIT)
                yield one


@pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
@pytest.mark.parametrize("given_again", [True, False], ids=["given again", "not yet"])
async def test_a_number_of_before_a_crash_is_no_proof(
    postgresql: PostgreSQL, proxy: Proxy, shop: Hooked, given_again: bool
) -> None:
    """A COMMIT that a crash has undone is never told to be done, whoever has its number by now."""
    with requested("POST") as request:
        placing_it = asyncio.ensure_future(shop.run(placing("lost")))
        await until(lambda: postgresql.execute(COMMITTING))
        await asyncio.to_thread(postgresql.stop, "immediate")
        proxy.refuse()
        await asyncio.to_thread(postgresql.start)
        if given_again:
            others = ["BEGIN; SELECT pg_current_xact_id(); COMMIT"] * 50
            await asyncio.to_thread(postgresql.execute, ";".join(others))
        proxy.heal()
        with pytest.raises(DBAPIError):
            await placing_it
        commit = request.ledger.commit

    assert commit is (Commit.UNKNOWN if given_again else Commit.ROLLED_BACK)
    assert "lost" not in await shop.run(names)


@pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
async def test_a_session_of_another_time_zone_stands_on_the_same_server(
    postgresql: PostgreSQL, proxy: Proxy, shop: Hooked
) -> None:
    """What an application sets for its connection makes no other server of it."""

    def work(connection: Connection) -> None:
        connection.execute(text("SET TimeZone = 'Asia/Tokyo'"))
        connection.execute(text("SET DateStyle = 'German'"))
        insert(connection, "kept")
        proxy.cut_when(commits, before=False)
        connection.commit()

    with requested("POST") as request:
        await shop.run(work)

    assert request.ledger.commit is Commit.COMMITTED
    assert proxy.counters.cuts == 1
    assert "kept" in await shop.run(names)
