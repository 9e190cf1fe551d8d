"""The rig itself: without holdfast its faults do fail requests, and its oracle sees losses and doubles."""

from __future__ import annotations

import asyncio
import socket

import pytest
from running import ASYNCPG, EVERY_SHOP, Shop, running
from scene import scene

from holdfast.drill.postgresql import PostgreSQL
from load import Load, Record, Shape, judge, run_load


def order(reference: str, status: int) -> Record:
    return Record("POST", "/orders", 0.0, reference=reference, status=status)


def test_the_oracle_sees_what_is_lost_doubled_and_unasked() -> None:
    records = [order("kept", 201), order("lost", 201), order("twice", 201), order("refused", 503)]

    verdict = judge(records, ["kept", "twice", "twice", "stranger"])

    assert (verdict.missing, verdict.doubled, verdict.unasked) == (("lost",), ("twice",), ("stranger",))
    assert not verdict.right


def test_an_order_that_landed_without_being_acknowledged_is_not_wrong() -> None:
    assert judge([order("in doubt", 503)], ["in doubt"]).right


@pytest.mark.parametrize("shop", EVERY_SHOP, ids=lambda shop: shop.name)
async def test_a_bare_shop_serves_everything_while_its_database_is_well(
    shared_postgresql: PostgreSQL, shop: Shop
) -> None:
    with running(shop, shop.environment(shared_postgresql), bare=True) as one:
        records = await run_load(one.url, 1, Shape(rate=50))

    found = shared_postgresql.execute("SELECT reference FROM orders")
    shared_postgresql.execute("DROP TABLE orders, items")
    assert {record.status for record in records} == {200, 201}
    assert judge(records, [reference for (reference,) in found]).right


async def test_a_bare_shop_fails_requests_while_its_database_restarts() -> None:
    """So that the claims about holdfast mean something."""
    async with scene(ASYNCPG, bare=True, direct=True) as stage:
        await stage.restart(absent=0.5)

    assert [one for one in stage.records if one.status == 500], stage.told()


async def test_a_bare_shop_fails_requests_in_a_black_hole() -> None:
    async with scene(ASYNCPG, Shape(timeout=2), bare=True) as stage:
        stage.proxy.black_hole()
        await stage.during(1)
        await asyncio.sleep(2)

    assert [one for one in stage.sent_between(stage.began_at, stage.ended_at + 1) if not one.ok]


async def test_arrivals_do_not_wait_for_answers() -> None:
    """Open loop: a server that accepts and never answers still meets every arrival."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        port = silent.getsockname()[1]
        async with Load(f"http://127.0.0.1:{port}", Shape(rate=100, timeout=0.5)) as load:
            await asyncio.sleep(1)

    assert len(load.records) >= 80
    assert {record.status for record in load.records} == {0}
