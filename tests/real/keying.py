"""Requests with keys, sent by hand, and what is in the tables afterwards."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
from running import Running

from holdfast.drill.postgresql import PostgreSQL

TABLE = "holdfast_idempotency"
_NUMBERS = count()


def fresh(word: str = "order") -> str:
    """A word that no other test uses."""
    return f"{word}-{next(_NUMBERS)}-{time.monotonic_ns()}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"


class Client:
    """Posts to one server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def post(
        self, path: str, body: Any = None, key: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One POST; *body* is sent as JSON unless it is bytes."""
        named = {**({} if key is None else {"Idempotency-Key": key}), **(headers or {})}
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        named.setdefault("Content-Type", "application/json")
        named["Connection"] = "close"  # after an error that got out the server closes it anyway
        async with self.session.post(path, data=data, headers=named) as answer:
            raw = await answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
            kind = told.get("content-type", "")
            return Answer(answer.status, json.loads(raw) if raw and "json" in kind else raw, told)

    async def order(self, reference: str, key: str | None, headers: dict[str, str] | None = None) -> Answer:
        return await self.post("/orders", {"reference": reference, "item_id": 1}, key, headers)


@asynccontextmanager
async def client_of(one: Running) -> AsyncIterator[Client]:
    timeout, connector = aiohttp.ClientTimeout(30), aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(one.url, timeout=timeout, connector=connector) as session:
        yield Client(session)


def placed(server: PostgreSQL, reference: str) -> int:
    """How often that order is there."""
    ((found,),) = server.execute(f"SELECT count(*) FROM orders WHERE reference = '{reference}'")
    return int(found)


def noted(server: PostgreSQL, what: str, database: str = "postgres") -> int:
    """How often that note is there."""
    ((found,),) = server.execute(f"SELECT count(*) FROM notes WHERE what LIKE '{what}%'", database)
    return int(found)


def age(server: PostgreSQL, seconds: int, database: str = "postgres") -> None:
    """Let every row under a key be older than it is."""
    server.execute(f"UPDATE {TABLE} SET created_at = created_at - interval '{seconds} s'", database)


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait until *condition*, asked in a thread, holds; fails after *within* seconds."""
    give_up_at = time.monotonic() + within
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < give_up_at, "it never came about"
        await asyncio.sleep(0.02)


def raw_status(port: int, key: bytes) -> bytes:
    """The first line of the answer to an order whose key is these very bytes."""
    body = b'{"reference": "raw", "item_id": 1}'
    head = b"POST /orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sending:
        sending.sendall(
            head + b"Content-Length: %d\r\nIdempotency-Key: %s\r\n\r\n%s" % (len(body), key, body)
        )
        answer = b""
        while part := sending.recv(65536):
            answer += part
    return answer
