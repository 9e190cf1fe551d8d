"""What uses the database beside requests: sockets, streams that go on, jobs in threads (REQ-3, PRM-1)."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from running import Shop, running

from holdfast.drill.servers import real_server

BESIDE = Shop("beside", "beside_shop:app", "asyncpg")
TIMEOUT_S = 1.0
STREAMS = 4
SOCKETS = 12  # four times the pool: some wait for a connection
SILENT_S = 3.0  # longer than it takes to be noticed


@pytest.mark.parametrize("mode", ["immediate", "fast"])
async def test_streams_older_than_a_deadline_ride_through_a_restart(mode) -> None:
    """REQ-3: what has begun to answer has no deadline any more; it waits as long as any request may."""
    with (
        real_server("postgresql") as server,
        running(
            BESIDE, BESIDE.environment(server) | {"REQUEST_TIMEOUT_MS": f"{TIMEOUT_S * 1000:.0f}"}
        ) as one,
    ):
        async with aiohttp.ClientSession(one.url) as client:
            streams = [await client.get("/stream") for _ in range(STREAMS)]
            began = time.monotonic()
            while time.monotonic() < began + 2 * TIMEOUT_S:
                for stream in streams:
                    assert await stream.content.readline() == b"1\n"
            await asyncio.to_thread(server.stop, mode)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)
            began = time.monotonic()
            while time.monotonic() < began + 1.0:  # past what had been sent before
                for stream in streams:
                    assert await stream.content.readline() == b"1\n", one.output[-3000:]
            for stream in streams:
                stream.close()


async def test_a_stall_breaks_neither_sockets_nor_jobs() -> None:
    """DB-12: bytes that are only late cost what cannot be run again nothing but the time."""
    with (
        real_server("postgresql") as server,
        server.proxied() as proxy,
        running(BESIDE, BESIDE.environment(server, proxy.port)) as one,
    ):
        async with aiohttp.ClientSession(one.url) as client:
            healed = asyncio.Event()

            async def talk() -> int:
                """How many answers came after it was over."""
                after = 0
                async with client.ws_connect("/ws") as socket:
                    while after < 3:
                        was_over = healed.is_set()
                        await socket.send_str("?")
                        assert (await socket.receive_str(timeout=20)) == "1"
                        after += was_over
                return after

            talking = [asyncio.create_task(talk()) for _ in range(SOCKETS)]
            await asyncio.sleep(0.5)
            proxy.stall()
            looking = asyncio.create_task(_keep_looking(client, healed))
            await asyncio.sleep(SILENT_S)
            proxy.heal()
            healed.set()

            assert await asyncio.gather(*talking) == [3] * SOCKETS, one.output[-3000:]
            assert await looking == {200}
            async with client.get("/jobs") as answer:
                jobs = await answer.json()
    assert jobs["failed"] == []
    assert jobs["done"] > 0


async def _keep_looking(client: aiohttp.ClientSession, until: asyncio.Event) -> set[int]:
    """Requests beside them, from which the silence is noticed; their answers."""

    async def look() -> int:
        async with client.get("/look") as answer:
            return answer.status

    looks = []
    while not until.is_set():
        looks.append(asyncio.create_task(look()))
        await asyncio.sleep(0.1)
    return set(await asyncio.gather(*looks))


async def test_streams_that_a_stop_ends_are_no_errors() -> None:
    """SHD-1: they end, and nobody is told that an answer is incomplete."""
    with real_server("postgresql") as server, running(BESIDE, BESIDE.environment(server)) as one:
        async with aiohttp.ClientSession(one.url) as client:
            streams = [await client.get("/stream") for _ in range(STREAMS)]
            for stream in streams:
                assert await stream.content.readline() == b"1\n"
            status, _ = await asyncio.to_thread(one.stop)
            for stream in streams:
                stream.close()

    assert status == 0
    assert '"level":"error"' not in one.output
