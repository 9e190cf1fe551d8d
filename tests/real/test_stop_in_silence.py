"""SHD-1: a stop waits neither for a network that is dead nor for a client that says nothing."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from running import ASYNCPG, SYNC, Shop, running

from holdfast.drill.postgresql import PostgreSQL

QUICK_S = 5.0  # half of what a stop may take; past 70 % of it what is left is cancelled
TALKING = [Shop("talking", "talking_shop:app", driver) for driver in ("asyncpg", "psycopg")]


async def test_a_client_that_never_sends_its_body(postgresql: PostgreSQL) -> None:
    with running(ASYNCPG, ASYNCPG.environment(postgresql)) as one:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(
            b"POST /orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: never\r\n"
            b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        )
        status, took = await asyncio.to_thread(one.stop)
        answer = await reader.read()
        writer.close()

    assert status == 0
    assert took < QUICK_S
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting_down"' in answer


@pytest.mark.parametrize("shop", TALKING, ids=lambda shop: shop.driver)
async def test_a_websocket_that_waits_for_a_dead_network(postgresql: PostgreSQL, shop: Shop) -> None:
    """psycopg asked the dead server for five seconds to cancel what the stop had cancelled."""
    with (
        postgresql.proxied() as proxy,
        running(shop, {"DATABASE_URL": postgresql.url(shop.driver, port=proxy.port)}) as one,
    ):
        async with aiohttp.ClientSession(one.url) as client, client.ws_connect("/ws") as socket:
            await socket.send_str("before")
            await socket.receive()
            proxy.black_hole()
            await socket.send_str("during")
            async with client.get("/health") as alive:
                assert alive.status == 200
            status, took = await asyncio.to_thread(one.stop)

    assert status == 0
    assert took < QUICK_S


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=lambda shop: shop.name)
async def test_a_slow_read_of_a_living_database_is_finished(postgresql: PostgreSQL, shop: Shop) -> None:
    with running(shop, shop.environment(postgresql)) as one:
        async with aiohttp.ClientSession(one.url) as client:
            asking = asyncio.create_task(client.get("/slow?seconds=3"))
            asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            while not await asyncio.to_thread(postgresql.execute, asked):
                await asyncio.sleep(0.02)
            status, _ = await asyncio.to_thread(one.stop)
            answer = await asking

    assert answer.status == 200
    assert status == 0
