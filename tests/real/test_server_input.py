"""What clients send, well meant or not, and what becomes of it in an outage (REQ-1, REQ-3, REQ-4)."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import ASYNCPG, Running, Shop, running

from holdfast.asgi.absence import AWAY_S
from holdfast.drill.postgresql import PostgreSQL

WITHIN = 20.0
POST = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@asynccontextmanager
async def shop(server: PostgreSQL, **settings: str) -> AsyncIterator[tuple[Running, aiohttp.ClientSession]]:
    """A shop whose routes are known to need their database, and a client without bounds."""
    with running(ASYNCPG, {**ASYNCPG.environment(server), **settings}) as one:
        # Less than the server's five seconds: else both ends race over connections that fall idle.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        timeout = aiohttp.ClientTimeout(WITHIN)
        async with aiohttp.ClientSession(one.url, connector=connector, timeout=timeout) as session:
            assert (await ask(session, "GET", "/items/1"))[0] == 200
            assert (await ask(session, "POST", "/orders", json=order("first")))[0] == 201
            yield one, session
        assert one.process.poll() is None, one.output
        assert "Traceback" not in one.whole_output(), one.output


def order(reference: str, **more: Any) -> dict[str, Any]:
    return {"reference": reference, "item_id": 1, **more}


async def ask(session: aiohttp.ClientSession, method: str, path: str, **about: Any) -> tuple[int, str]:
    async with session.request(method, path, **about) as answer:
        return answer.status, await answer.text()


async def figure(session: aiohttp.ClientSession, name: str) -> int:
    """What the health page says of the database."""
    async with session.get("/_holdfast/api/health") as answer:
        return int((await answer.json())["database"][name])


async def until_waiting(session: aiohttp.ClientSession, count: int) -> None:
    async with asyncio.timeout(WITHIN):
        while await figure(session, "waitingQueue") != count:
            await asyncio.sleep(0.05)


async def lose(server: PostgreSQL, session: aiohttp.ClientSession) -> None:
    """Stop the server, and return when holdfast knows. Whoever was answered has given its connection back."""
    async with asyncio.timeout(WITHIN):
        while await figure(session, "activeConnections"):
            await asyncio.sleep(0.01)
    await asyncio.to_thread(server.stop, "immediate")
    async with asyncio.timeout(WITHIN):
        while (await ask(session, "GET", "/_holdfast/readyz"))[0] != 503:
            await asyncio.sleep(0.05)


def orders(server: PostgreSQL) -> list[str]:
    return [reference for (reference,) in server.execute("SELECT reference FROM orders ORDER BY id")]


async def raw(port: int, *parts: bytes) -> bytes:
    """What the server answers to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), WITHIN)
    except ConnectionError:
        return b""
    finally:
        writer.close()


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_body_too_long_to_keep_is_served(postgresql: PostgreSQL) -> None:
    """REQ-4: it only cannot be run again."""
    async with shop(postgresql) as (_, session):
        long = order("long", note="x" * 1_000_000)

        assert (await ask(session, "POST", "/orders", json=long))[0] == 201

    assert orders(postgresql) == ["first", "long"]


async def test_a_body_that_comes_in_pieces_is_served(postgresql: PostgreSQL) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in json.dumps(order("pieces")).encode():
            yield bytes([byte])

    async with shop(postgresql) as (_, session):
        headers = {"content-type": "application/json"}
        assert (await ask(session, "POST", "/orders", data=pieces(), headers=headers))[0] == 201


async def test_a_held_body_too_long_to_keep_is_told_or_served_once(postgresql: PostgreSQL) -> None:
    """It waits at the door, where nothing has been read that would be needed again."""
    async with shop(postgresql) as (_, session):
        await lose(postgresql, session)
        asking = asyncio.create_task(
            ask(session, "POST", "/orders", json=order("long", note="x" * 1_000_000))
        )
        await until_waiting(session, 1)
        await asyncio.to_thread(postgresql.start)
        status, _ = await asking

    assert status == 201
    assert orders(postgresql) == ["first", "long"]


# ── answers that have begun ──────────────────────────────────────────────────────────────────────

EXPORT = """
from asyncpg_shop import app, engine
from fastapi.responses import StreamingResponse
from sqlalchemy import text

runs = []

@app.get("/export")
async def export():
    runs.append(1)
    async def rows():
        async with engine.connect() as connection:
            for number in range(200):
                await connection.execute(text("SELECT pg_sleep(0.05)"))
                yield f"row {number}\\n"
    return StreamingResponse(rows())

@app.get("/runs")
async def count():
    return len(runs)
"""


async def test_an_answer_that_has_begun_is_never_replayed(postgresql: PostgreSQL, tmp_path: Path) -> None:
    """REQ-4: it ends where it broke off, and its client can tell."""
    (tmp_path / "exporting_shop.py").write_text(EXPORT)
    exporting = Shop("exporting", "exporting_shop:app", "asyncpg")
    environment = {**exporting.environment(postgresql), "PYTHONPATH": str(tmp_path)}
    with running(exporting, environment) as one:
        async with aiohttp.ClientSession(one.url) as session:
            async with session.get("/export") as answer:
                rows = [await answer.content.readline() for _ in range(3)]
                await asyncio.to_thread(postgresql.stop, "immediate")
                await asyncio.to_thread(postgresql.start)
                with pytest.raises(aiohttp.ClientPayloadError):
                    await read_into(rows, answer)

            assert rows == [f"row {number}\n".encode() for number in range(len(rows))]
            assert await ask(session, "GET", "/runs") == (200, "1")
            assert (await ask(session, "GET", "/items/1"))[0] == 200


async def read_into(rows: list[bytes], answer: aiohttp.ClientResponse) -> None:
    """The rest of *answer*, line by line; raises when it breaks off."""
    while line := await asyncio.wait_for(answer.content.readline(), WITHIN):
        rows.append(line)


# ── clients that leave ───────────────────────────────────────────────────────────────────────────


async def test_a_client_that_leaves_while_held_frees_its_place_and_runs_nothing(
    postgresql: PostgreSQL,
) -> None:
    """REQ-3, PRF-8: writes that land after their client left: 0."""
    async with shop(postgresql) as (one, session):
        await lose(postgresql, session)
        body = json.dumps(order("left")).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        await until_waiting(session, 1)

        writer.close()
        await until_waiting(session, 0)
        await asyncio.to_thread(postgresql.start)
        assert (await ask(session, "POST", "/orders", json=order("stayed")))[0] == 201

    assert orders(postgresql) == ["first", "stayed"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_survived(postgresql: PostgreSQL) -> None:
    async with shop(postgresql) as (one, session):
        _, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        assert (await ask(session, "GET", "/items/1"))[0] == 200

    assert orders(postgresql) == ["first"]


async def test_what_was_sent_while_the_process_slept_by_clients_that_left_changes_nothing(
    postgresql: PostgreSQL,
) -> None:
    """PRF-8: a laptop that was closed; the connections and their ends lie in the system's queues."""
    async with shop(postgresql) as (one, session):
        one.process.send_signal(signal.SIGSTOP)
        try:
            for number in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", one.port)
                body = json.dumps(order(f"left {number}")).encode()
                key = b"Idempotency-Key: k-%d\r\n" % number if number % 2 else b""
                writer.write(POST + key + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            staying = asyncio.create_task(ask(session, "POST", "/orders", json=order("stayed")))
            await asyncio.sleep(AWAY_S + 1)  # so long it sleeps: that is the fault
        finally:
            one.process.send_signal(signal.SIGCONT)

        assert (await staying)[0] == 201
        assert (await ask(session, "POST", "/orders", json=order("later")))[0] == 201

    assert orders(postgresql) == ["first", "stayed", "later"]


# ── headers ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_header_of_five_megabytes_is_refused_and_the_server_lives(postgresql: PostgreSQL) -> None:
    async with shop(postgresql) as (one, session):
        head = b"GET /items/1 HTTP/1.1\r\nHost: x\r\nX-Big: "
        answer = await raw(one.port, head, *[b"x" * 65536] * 80, b"\r\n\r\n")

        assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
        assert (await ask(session, "GET", "/items/1"))[0] == 200


async def test_a_request_id_with_a_newline_forges_nothing(postgresql: PostgreSQL) -> None:
    """REQ-1: neither a header of the answer nor a line of the log."""
    async with shop(postgresql) as (one, _):
        for end in (b"\n", b"\r", b"\r\n "):
            request = (
                b"GET /items/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"X-Request-ID: a" + end + b"X-Forged: yes\r\n\r\n"
            )
            answer = (await raw(one.port, request)).lower()

            assert b"x-forged" not in answer
            assert b"x-request-id: a\r\n" not in answer or end != b"\r\n "

    assert "X-Forged" not in one.output


# ── many ─────────────────────────────────────────────────────────────────────────────────────────


async def test_two_thousand_requests_at_once_meet_the_bound_and_the_rest_are_served(
    postgresql: PostgreSQL,
) -> None:
    """REQ-3, property 19: 1,000 wait, as many are refused at once; after recovery all who wait are served."""
    async with shop(postgresql) as (one, session):
        await lose(postgresql, session)
        asking = [asyncio.create_task(ask(session, "GET", "/items/1")) for _ in range(2000)]
        await until_waiting(session, 1000)
        async with asyncio.timeout(WITHIN):
            while sum(task.done() for task in asking) < 1000:
                await asyncio.sleep(0.05)
        refused = [task.result() for task in asking if task.done()]

        assert {status for status, _ in refused} == {503}
        assert {json.loads(text)["code"] for _, text in refused} == {"waiting_room_full"}
        assert (await ask(session, "GET", "/_holdfast/health"))[0] == 200
        await asyncio.to_thread(postgresql.start)
        statuses = [status for status, _ in await asyncio.gather(*asking)]

        assert (statuses.count(200), statuses.count(503)) == (1000, 1000), one.output[-2000:]
        assert await figure(session, "waitingQueue") == 0
