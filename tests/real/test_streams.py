"""Streams that were held, and whoever comes after them (REQ-3, DB-6, PRM-1)."""

from __future__ import annotations

import asyncio

import aiohttp
from running import Shop, running

from holdfast.drill.servers import real_server

EVENTS = Shop("events", "events_shop:app", "asyncpg")
STREAMS = 6  # more than the turns that are out at once after an outage
WITHIN = 8.0


async def test_streams_that_were_held_keep_nobody_from_a_healthy_database() -> None:
    """REQ-3: the page that listens stays open for as long as it is shown, and the shop goes on."""
    with real_server("postgresql") as server, running(EVENTS, EVENTS.environment(server)) as one:
        async with aiohttp.ClientSession(one.url, timeout=aiohttp.ClientTimeout(total=WITHIN)) as client:

            async def ask(path: str) -> int:
                async with client.get(path) as answer:
                    await answer.content.readany()
                    return answer.status

            await ask("/stock")
            async with client.get("/events?seconds=0") as known:
                await known.read()
            await asyncio.to_thread(server.stop, "immediate")
            streams = [asyncio.create_task(client.get("/events")) for _ in range(STREAMS)]
            await asyncio.sleep(0.2)
            held = [asyncio.create_task(ask("/stock")) for _ in range(3)]
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.start)

            assert await asyncio.gather(*held) == [200] * 3
            begun = await asyncio.gather(*streams)
            assert [answer.status for answer in begun] == [200] * STREAMS
            assert await ask("/stock") == 200
            for answer in begun:
                assert not answer.content.at_eof()
                answer.close()
