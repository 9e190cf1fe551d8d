"""SHD-1: a request that takes longer than the stop may take."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from running import ASYNCPG, SYNC, Shop, running

from holdfast.drill.postgresql import PostgreSQL
from load import PROBLEM


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=lambda shop: shop.name)
async def test_it_is_told_so_and_is_no_error(postgresql: PostgreSQL, shop: Shop) -> None:
    short = {"HOLDFAST_SHUTDOWN_TIMEOUT_MS": "2000"}
    with running(shop, shop.environment(postgresql) | short) as one:
        async with aiohttp.ClientSession(one.url) as client:
            asking = asyncio.create_task(client.get("/slow?seconds=15"))
            asked = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
            while not await asyncio.to_thread(postgresql.execute, asked):
                await asyncio.sleep(0.02)
            stopping = asyncio.create_task(asyncio.to_thread(one.stop))
            answer = await asking
            problem = await answer.json(content_type=None)
            status, _ = await stopping

    assert (answer.status, answer.content_type, problem["code"]) == (503, PROBLEM, "shutting_down")
    assert "Traceback" not in one.output
    assert status == 0
