"""Each store of the journal keeps the promises of all of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_contract import JournalContract, Opening

from holdfast.drill.redis import Redis
from holdfast.drill.servers import real_server
from holdfast.work.journal_redis import open_redis
from holdfast.work.journal_sqlite import open_sqlite
from holdfast.work.sealing import Seal


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    with real_server("redis", durable=True) as server:
        yield server


class TestRedis(JournalContract):
    @pytest.fixture
    def opening(self, redis_server: Redis) -> Opening:
        journal = secrets.token_hex(4)
        return lambda room: open_redis(redis_server.url(), max_bytes=room, journal=journal)


class TestSealedRedis(JournalContract):
    @pytest.fixture
    def opening(self, redis_server: Redis) -> Opening:
        journal = secrets.token_hex(4)
        return lambda room: open_redis(
            redis_server.url(), max_bytes=room, journal=journal, seal=Seal("a secret of some length")
        )


class TestSqlite(JournalContract):
    @pytest.fixture
    def opening(self, tmp_path: Path) -> Opening:
        return lambda room: open_sqlite(tmp_path, max_bytes=room)
