"""What is saved after its answer is acknowledged only once it is saved (PRM-1, TXN-4, property 16).

Applications whose dependency commits have their answer ready before their database has heard of it.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from running import LATE, Running, running
from scene import scene

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.servers import real_server
from load import Shape

ROUTES = ("/orders", "/flushed", "/forgiving", "/threads", "/threads/flushed")
REFUSES = """
CREATE TABLE IF NOT EXISTS refusal (code text);
CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted text;
BEGIN
 SELECT code INTO wanted FROM refusal;
 IF FOUND THEN RAISE EXCEPTION 'not this one' USING ERRCODE = wanted; END IF;
 RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS refused ON orders;
CREATE CONSTRAINT TRIGGER refused AFTER INSERT ON orders
 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with real_server("postgresql") as server:
        yield server


@pytest.fixture(scope="module")
def shop(server: PostgreSQL) -> Iterator[Running]:
    with running(LATE, LATE.environment(server)) as one:
        server.execute(REFUSES)
        yield one


@pytest.fixture
def refusing(server: PostgreSQL) -> Iterator[None]:
    yield
    server.execute("DELETE FROM refusal")


def ask(shop: Running, path: str, reference: str, key: str | None) -> int:
    headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
    data = json.dumps({"reference": reference}).encode()
    request = urllib.request.Request(f"{shop.url}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def rows(server: PostgreSQL, reference: str) -> int:
    return len(server.execute(f"SELECT 1 FROM orders WHERE reference = '{reference}'"))


@pytest.mark.parametrize("keyed", [True, False], ids=["key", "no-key"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("code", "status"),
    [("23514", 422), ("23505", 409), ("40001", 503), ("57014", 504), ("53100", 503), ("P0001", 500)],
)
@pytest.mark.usefixtures("refusing")
def test_a_commit_that_is_refused_is_acknowledged_by_nobody(
    shop: Running, server: PostgreSQL, route: str, code: str, status: int, keyed: bool
) -> None:
    """ERR-3: it is told what the database said, and its key does not remember a success that was none."""
    reference = f"{route}-{code}-{keyed}"
    key = reference if keyed else None
    server.execute(f"INSERT INTO refusal VALUES ('{code}')")

    assert ask(shop, route, reference, key) == status
    assert rows(server, reference) == 0

    server.execute("DELETE FROM refusal")
    again = ask(shop, route, reference, key)
    assert again == (422 if keyed and status == 422 else 201)  # what a retry may turn binds nobody
    assert rows(server, reference) == (again == 201)


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_saved_is_acknowledged_without_delay(shop: Running, server: PostgreSQL, route: str) -> None:
    """PRM-5: its status and its body are its own."""
    reference = f"{route}-well"
    began = time.monotonic()

    assert ask(shop, route, reference, None) == 201
    assert rows(server, reference) == 1
    assert time.monotonic() - began < 0.9, "it was kept until a timer let it go"


@pytest.mark.parametrize("keyed", [True, False], ids=["key", "no-key"])
async def test_a_restart_loses_nothing_that_was_acknowledged(keyed: bool) -> None:
    """PRM-1: nothing was sent when the answer was ready."""
    async with scene(LATE, Shape(get_share=0.5, keyed=keyed), direct=True) as stage:
        for _ in range(2):
            await stage.restart(1.0)
            await asyncio.sleep(1)

    verdict = stage.verdict()
    assert verdict.right, stage.told()
    assert verdict.acknowledged > 0
    failed = [one for one in stage.records if not one.ok]
    assert {one.status for one in failed} <= {503}, stage.told()
    assert len(failed) <= 5 or not keyed, stage.told()


async def test_a_background_task_before_the_commit_loses_nothing() -> None:
    """An answer that is all there waits for its transaction, which waits for the task."""
    async with scene(LATE, Shape(rate=5), direct=True) as stage:
        asked = [
            asyncio.create_task(asyncio.to_thread(ask, stage.running, "/mailed", f"mailed-{number}", None))
            for number in range(6)
        ]
        await asyncio.sleep(1.6)
        await stage.restart(1.0)
        statuses = await asyncio.gather(*asked)
        there = [rows(stage.server, f"mailed-{number}") for number in range(6)]
        stage.server.execute("DELETE FROM orders WHERE reference LIKE 'mailed-%'")

    acknowledged = [count for status, count in zip(statuses, there, strict=True) if status == 201]
    assert set(acknowledged) <= {1}
    assert set(statuses) <= {201, 503}
