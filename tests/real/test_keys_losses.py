"""Keys while things break: restarts, a kill between COMMIT and the answer, and files (REQ-5, TXN-4)."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from keying import age, client_of, fresh, placed
from running import ASYNCPG, PSYCOPG, SYNC, Shop, running
from scene import scene

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from load import Shape

KEYED_ORDERS = Shape(get_share=0.0)
SQLITE = Shop("sqlite", "sqlite_shop:app", "")


@pytest.mark.parametrize(
    ("shop", "absent"),
    [(ASYNCPG, 1.0), (PSYCOPG, 1.0), (SYNC, 1.0), (ASYNCPG, 5.0)],
    ids=["asyncpg", "psycopg", "sync", "asyncpg, 5 s"],
)
async def test_of_keyed_orders_a_restart_fails_none(shop: Shop, absent: float) -> None:
    """PRM-1, properties 16 and 17: a hundred a second, those whose COMMIT it met included."""
    async with scene(shop, KEYED_ORDERS, direct=True) as stage:
        await stage.restart(absent)
        await asyncio.sleep(1)

    verdict = stage.verdict()
    assert [str(one) for one in stage.records if not one.ok] == [], stage.told()
    assert verdict.right, stage.told()
    assert verdict.acknowledged == len(stage.records) == len(stage.rows)


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=lambda shop: shop.name)
@pytest.mark.parametrize("reached", [True, False], ids=["committed", "not committed"])
async def test_killed_between_commit_and_answer_it_is_never_done_twice(
    postgresql: PostgreSQL, proxy: Proxy, shop: Shop, reached: bool
) -> None:
    """The client has no answer and asks the next process, with the same key."""
    reference, key = fresh(), fresh("key")
    environment = shop.environment(postgresql, proxy.port)
    with running(shop, environment) as one:
        killed = threading.Event()

        def kill(data: bytes) -> bool:
            if not commits(data) or killed.is_set():
                return False
            os.killpg(one.process.pid, signal.SIGKILL)
            killed.set()
            return True

        async with client_of(one) as client:
            assert (await client.order("warm", "warm")).status == 201
            proxy.cut_when(kill, before=not reached)
            with pytest.raises(aiohttp.ClientError):
                await client.order(reference, key)
        assert killed.is_set()
    await asyncio.to_thread(settled, postgresql)
    there = placed(postgresql, reference)
    with running(shop, environment) as one:
        async with client_of(one) as client:
            age(postgresql, -60)  # young, however long the start took
            soon = await client.order(reference, key)
            age(postgresql, 120)
            later = await client.order(reference, key)

    assert there == int(reached)
    assert placed(postgresql, reference) == 1, one.output
    if reached:
        assert (soon.status, soon.code) == (409, "idempotency_in_progress")
        assert (later.status, later.code) == (503, "applied_but_interrupted")
    else:
        assert (soon.status, soon.replayed, later.status, later.replayed) == (201, False, 201, True)


def settled(server: PostgreSQL) -> None:
    """Return when no other connection is in a transaction any more."""
    working = "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    while server.execute(f"{working} AND backend_type = 'client backend'") != [("0",)]:
        pass


# ── files ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shop", "driver"), [(SQLITE, "sqlite"), (ASYNCPG, "sqlite+aiosqlite")], ids=["sync", "aiosqlite"]
)
async def test_keys_in_a_file(tmp_path: Path, shop: Shop, driver: str) -> None:
    file = tmp_path / "shop.db"
    environment = {"DATABASE_URL": f"{driver}:///{file}"}
    with running(shop, environment) as first, running(shop, environment) as second:
        async with client_of(first) as ours, client_of(second) as theirs:
            asked = [client.order("once", "once") for client in (ours, theirs) for _ in range(10)]
            answers = await asyncio.gather(*asked)
            again = await theirs.order("once", "once")
            other = await ours.order("another", "once")
        told = first.whole_output() + second.whole_output()

    seen = Counter((one.status, one.code or one.replayed) for one in answers)
    assert seen.pop((201, False)) == 1, told
    assert set(seen) <= {(201, True), (409, "idempotency_in_progress")}, told
    assert (again.status, again.replayed, other.status) == (201, True, 422)
    assert "markers_off" not in told
    with sqlite3.connect(file) as found:
        assert found.execute("SELECT reference FROM orders").fetchall() == [("once",)]
    found.close()


async def test_a_locked_file_switches_no_keys_off(tmp_path: Path) -> None:
    """Somebody's long transaction is waited out or told; keys are kept on."""
    file = tmp_path / "shop.db"
    with running(SQLITE, {"DATABASE_URL": f"sqlite:///{file}?timeout=0.2"}) as one:
        async with client_of(one) as client:
            assert (await client.order("a", "a")).status == 201
            holder = sqlite3.connect(file, isolation_level=None)
            holder.execute("BEGIN EXCLUSIVE")
            told = await client.order("b", "b")
            holder.execute("ROLLBACK")
            holder.close()
            after = [await client.order("b", "b"), await client.order("b", "b")]
        output = one.whole_output()

    assert (told.status, told.code) == (503, "database_unavailable"), output
    assert [(one.status, one.replayed) for one in after] == [(201, False), (201, True)], output
    assert "markers_off" not in output


async def test_in_memory_there_are_no_keys_and_no_warning(tmp_path: Path) -> None:
    with running(ASYNCPG, {"DATABASE_URL": "sqlite+aiosqlite:///:memory:"}) as one:
        async with client_of(one) as client:
            statuses = [(await client.order("a", "a")).status for _ in range(2)]
        told = one.whole_output()

    assert statuses == [201, 201], told
    assert "markers_off" not in told
