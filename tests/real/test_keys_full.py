"""Keys where the server has no connection left for anybody (REQ-5, DB-3): SQLSTATE 53300."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psycopg
import pytest
from keying import Client, client_of, fresh
from running import ASYNCPG, PSYCOPG, SYNC, Shop, running

from holdfast.drill.postgresql import Options, PostgreSQL

every = pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=lambda shop: shop.name)


@contextmanager
def crowded(server: PostgreSQL) -> Iterator[ExitStack]:
    """Somebody else holds every connection that is left; closing what it gives lets them go."""
    with ExitStack() as crowd:
        while True:
            try:
                one = psycopg.connect(host=server.host, port=server.port, user="postgres", dbname="postgres")
            except psycopg.OperationalError:
                break
            crowd.enter_context(closing(one))
        yield crowd


async def ordered(client: Client, times: int = 1) -> Counter[tuple[int, str | None]]:
    answers = await asyncio.gather(*(client.order(fresh(), fresh("key")) for _ in range(times)))
    return Counter((one.status, one.code) for one in answers)


@every
async def test_a_server_smaller_than_the_pool_serves_everybody(shop: Shop) -> None:
    """DB-3: the pool that we have grown, the watch and our sessions together are more than it takes."""
    with PostgreSQL(Options(max_connections=20)) as server, running(shop, shop.environment(server)) as one:
        async with client_of(one) as client:

            async def slow() -> int:
                async with client.session.get("/slow?seconds=0.3") as answer:
                    return answer.status

            for _ in range(2):
                reads = asyncio.gather(*(slow() for _ in range(30)))
                assert await ordered(client, 30) == {(201, None): 30}, one.output
                assert Counter(await reads) == {200: 30}, one.output


@every
async def test_while_our_session_lives_a_full_server_is_no_problem(shop: Shop) -> None:
    with PostgreSQL(Options(max_connections=20)) as server, running(shop, shop.environment(server)) as one:
        async with client_of(one) as client:
            await ordered(client)
            with crowded(server):
                for _ in range(5):
                    assert await asyncio.wait_for(ordered(client), 5) == {(201, None): 1}, one.output


@every
async def test_the_first_key_waits_for_a_connection(shop: Shop) -> None:
    with PostgreSQL(Options(max_connections=20)) as server, running(shop, shop.environment(server)) as one:
        async with client_of(one) as client:
            async with client.session.get("/items") as answer:
                assert answer.status == 200  # the pool has a connection
            with crowded(server) as crowd:
                asking = asyncio.ensure_future(ordered(client, 5))
                await asyncio.wait([asking], timeout=1)
                assert not asking.done(), one.output
                crowd.close()
                assert await asking == {(201, None): 5}, one.output
