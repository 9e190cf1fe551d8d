"""A server that answers and takes no writes: they wait, reads go on, keys are found (DB-8, REQ-4)."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from running import ASYNCPG, PSYCOPG, SYNC, Running, Shop, running
from scene import Scene, scene

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.servers import real_server
from load import Shape

SECONDS = 3.0


def takes_writes(server: PostgreSQL, wanted: bool) -> None:
    """What a demoted primary does, or one whose keeper sees its disk fill up."""
    server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'off' if wanted else 'on'}")
    server.execute("SELECT pg_reload_conf()")


def logins(server: PostgreSQL) -> int:
    ((count,),) = server.execute("SELECT sessions FROM pg_stat_database WHERE datname = 'postgres'")
    return int(count)


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=lambda shop: shop.name)
async def test_a_primary_that_takes_no_writes_for_a_while_costs_none(shop: Shop) -> None:
    """REQ-4: 25006, as a demoted one says until its name leads to the next."""
    async with scene(shop, Shape(rate=60, get_share=0.5), direct=True) as stage:
        before = await asyncio.to_thread(logins, stage.server)
        await asyncio.to_thread(takes_writes, stage.server, False)
        stage.began_at = time.monotonic()
        await asyncio.sleep(SECONDS)
        during = await asyncio.to_thread(logins, stage.server) - before
        await asyncio.to_thread(takes_writes, stage.server, True)
        await asyncio.sleep(2)

    orders = [one for one in stage.sent_between(stage.began_at, stage.began_at + 2) if one.method == "POST"]
    assert max(one.took for one in orders) > 1.0, "nothing was refused"
    assert [str(one) for one in stage.records if not one.ok] == [], stage.told()
    verdict = stage.verdict()
    assert verdict.right, stage.told()
    assert during < 80, "each refused write made somebody log in again"
    assert_reads_went_on(stage)


def assert_reads_went_on(stage: Scene) -> None:
    """Nobody took the database for away: nobody waited at its door but who had to write."""
    events = [json.loads(line)["event"] for line in stage.running.output.splitlines() if line[:1] == "{"]
    assert "writes_refused" in events
    assert "writes_taken" in events
    assert "database_lost" not in events


@contextmanager
def switched(shop: Shop) -> Iterator[tuple[Running, PostgreSQL, PostgreSQL]]:
    """A shop whose name for its database leads to another server now; the old one lives on, read-only.

    The connections that it has still lead to the old one.
    """
    with real_server("postgresql") as old, real_server("postgresql") as new:
        with running(shop, shop.environment(new)) as one:  # leaves its tables, and those of the keys
            assert order(one, "first", "first")[0] == 201
        with old.proxied() as proxy, running(shop, shop.environment(old, proxy.port)) as one:
            assert order(one, "before", "before") == (201, None)
            assert order(one, "before", "before") == (201, "true")
            takes_writes(old, False)
            proxy.upstream = (new.host, new.port)
            yield one, old, new


def order(one: Running, reference: str, key: str) -> tuple[int, str | None]:
    headers = {"content-type": "application/json", "idempotency-key": key}
    data = json.dumps({"reference": reference, "item_id": 1}).encode()
    request = urllib.request.Request(f"{one.url}/orders", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers.get("idempotent-replayed")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)["code"]


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=lambda shop: shop.name)
def test_after_a_switch_writes_and_keys_follow_to_the_new_primary(shop: Shop) -> None:
    with switched(shop) as (one, old, new):
        assert order(one, "after", "after") == (201, None)
        assert order(one, "after", "after") == (201, "true")

        count = "SELECT count(*) FROM orders WHERE reference = 'after'"
        assert (old.execute(count), new.execute(count)) == ([("0",)], [("1",)])
