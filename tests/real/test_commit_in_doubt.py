"""A COMMIT that met a cut is never guessed about: it is asked about where there is a key."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest
from running import ASYNCPG, EVERY_SHOP, PSYCOPG, SYNC, Running, Shop, running

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from load import IN_DOUBT, Load, Record, Shape

ONLY_BY_HAND = Shape(rate=0.01)  # the load's own arrivals stay out of the way


def references(server: PostgreSQL) -> list[str]:
    return [reference for (reference,) in server.execute("SELECT reference FROM orders")]


async def orders(one: Running, proxy: Proxy, *, before: bool, keyed: bool) -> list[Record]:
    """Ten orders, one after the other, each with its first COMMIT cut."""
    placed = []
    async with Load(one.url, ONLY_BY_HAND) as load:
        for _ in range(10):
            proxy.cut_when(commits, before=before)
            placed.append(await load.order(keyed))
    return placed


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "no key"])
@pytest.mark.parametrize("before", [True, False], ids=["commit lost", "answer lost"])
@pytest.mark.parametrize("shop", EVERY_SHOP, ids=lambda shop: shop.name)
async def test_a_commit_in_doubt_is_resolved_or_told(
    postgresql: PostgreSQL, proxy: Proxy, shop: Shop, before: bool, keyed: bool
) -> None:
    """TXN-4, REQ-4: with a key all ten are there once and acknowledged; without one nothing is guessed."""
    with running(shop, shop.environment(postgresql, proxy.port)) as one:
        placed = await orders(one, proxy, before=before, keyed=keyed)

    found = references(postgresql)
    assert proxy.counters.cuts == 10
    assert len(found) == len(set(found)), "doubled"
    assert {order.reference for order in placed if order.ok} <= set(found), "missing"
    expected = {(201, None)} if keyed else {(201, None), IN_DOUBT}
    assert {(order.status, order.code) for order in placed} <= expected, one.output
    assert len(found) == (10 if keyed or not before else 0)


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=lambda shop: shop.name)
async def test_a_commit_without_a_key_is_asked_about_by_its_number(
    postgresql: PostgreSQL, proxy: Proxy, shop: Shop
) -> None:
    """TXN-4: `pg_xact_status`, where it is switched on."""
    environment = {**shop.environment(postgresql, proxy.port), "HOLDFAST_COMMIT_STATUS": "true"}
    with running(shop, environment) as one:
        placed = await orders(one, proxy, before=False, keyed=False)

    assert [order.status for order in placed] == [201] * 10, one.output
    assert sorted(references(postgresql)) == sorted(order.reference or "" for order in placed)


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=lambda shop: shop.name)
async def test_a_silent_commit_is_asked_about_when_the_network_is_back(
    postgresql: PostgreSQL, proxy: Proxy, shop: Shop
) -> None:
    """TXN-4, DB-12: the server process that still holds the marker for its dead client is ended."""
    fell_silent = threading.Event()

    def silence(data: bytes) -> bool:
        if commits(data) and not fell_silent.is_set():
            proxy.black_hole()
            fell_silent.set()
        return False

    with running(shop, shop.environment(postgresql, proxy.port)) as one:
        async with Load(one.url, replace(ONLY_BY_HAND, timeout=20)) as load:
            assert (await load.order()).ok
            proxy.cut_when(silence, before=True)
            placing = asyncio.create_task(load.order())
            assert await asyncio.to_thread(fell_silent.wait, 10)
            await asyncio.wait([placing], timeout=4)  # the fault lasts so long
            assert not placing.done()
            proxy.heal()
            placed = await placing

    assert placed.status == 201, one.output
    assert sorted(references(postgresql)).count(placed.reference or "") == 1


async def test_an_order_whose_client_has_left_never_lands(postgresql: PostgreSQL, proxy: Proxy) -> None:
    """REQ-3: a held request without a client is dropped, not run."""
    with running(ASYNCPG, ASYNCPG.environment(postgresql, proxy.port)) as one:
        async with Load(one.url, replace(ONLY_BY_HAND, timeout=1)) as load:
            assert (await load.order()).ok
            proxy.refuse()
            left = await asyncio.gather(*(load.order() for _ in range(20)))
            assert [order.status for order in left] == [0] * 20
            proxy.heal()
            give_up_at = time.monotonic() + 10
            while not (await load.order()).ok and time.monotonic() < give_up_at:
                pass

    assert not {order.reference for order in left} & set(references(postgresql))
