"""One way to use four kinds of engine, each with holdfast's hooks, in a registry of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from holdfast.context import REQUEST, Request
from holdfast.databases.adopt import REGISTRY, Registry
from holdfast.databases.database import Database
from holdfast.databases.looking import Watchfulness
from holdfast.databases.sqlalchemy import adopt, deactivate
from holdfast.databases.watch import Watch
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy

Result = TypeVar("Result")
SOON = 10.0  # seconds within which must come what does come
QUICK = Watchfulness(suspect_after=0.3, silence=0.3, connect_timeout=2.0)
CREATE = (
    "CREATE TABLE IF NOT EXISTS things (name varchar(80) PRIMARY KEY,"
    " part_of varchar(80) REFERENCES things DEFERRABLE INITIALLY DEFERRED)"
)


@dataclass(frozen=True, slots=True)
class Flavour:
    """A driver, used by tasks or by threads."""

    driver: str
    is_async: bool
    backend: str = "postgresql"

    def __str__(self) -> str:
        return f"{self.driver}-{'async' if self.is_async else 'sync'}"

    def url(self, server: PostgreSQL, proxy: Proxy | None = None) -> str:
        return server.url(self.driver, port=None if proxy is None else proxy.port)


ASYNCPG = Flavour("asyncpg", is_async=True)
PSYCOPG = Flavour("psycopg", is_async=True)
PSYCOPG_SYNC = Flavour("psycopg", is_async=False)
POSTGRESQL = (ASYNCPG, PSYCOPG, PSYCOPG_SYNC)
SQLITE = Flavour("pysqlite", is_async=False, backend="sqlite")
AIOSQLITE = Flavour("aiosqlite", is_async=True, backend="sqlite")
EVERY = (*POSTGRESQL, SQLITE, AIOSQLITE)


class Hooked:
    """An engine with hooks. Work is a function of a sync Connection, run in a task or a thread."""

    def __init__(self, flavour: Flavour, url: str, name: str, **options: Any) -> None:
        create: Any = create_async_engine if flavour.is_async else create_engine
        self.given: Engine | AsyncEngine = create(url, **options)
        self.engine: Engine = getattr(self.given, "sync_engine", self.given)
        adopt(self.given, name)

    @property
    def database(self) -> Database:
        return self.engine._holdfast_hooks.database  # type: ignore[attr-defined]

    @property
    def pool(self) -> Any:
        return self.engine.pool

    async def run(self, work: Callable[[Connection], Result], **options: Any) -> Result:
        """The result of *work* on a connection that is given back afterwards."""
        if isinstance(self.given, AsyncEngine):
            async with self.given.execution_options(**options).connect() as connection:
                return await connection.run_sync(work)
        return await asyncio.to_thread(self._in_thread, work, options)

    def _in_thread(self, work: Callable[[Connection], Result], options: dict[str, Any]) -> Result:
        with self.engine.execution_options(**options).connect() as connection:
            return work(connection)

    async def dispose(self) -> None:
        if isinstance(self.given, AsyncEngine):
            await self.given.dispose()
        else:
            await asyncio.to_thread(self.engine.dispose)


@asynccontextmanager
async def hooked(flavour: Flavour, url: str, name: str = "shop", **options: Any) -> AsyncIterator[Hooked]:
    """An engine that has been used once and has a table of things; it must leak nothing."""
    one = Hooked(flavour, url, name, **options)
    try:
        await one.run(prepare)
        yield one
        assert getattr(one.pool, "checkedout", int)() == 0
    finally:
        await one.dispose()
    assert one.database.links == {}
    assert one.database.connecting == {}


def prepare(connection: Connection) -> None:
    connection.execute(text(CREATE))
    connection.commit()


@contextmanager
def isolated() -> Iterator[Registry]:
    """The process's registry, empty for as long as this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in vars(Registry()).items():
            if name != "_lock":
                patch.setattr(REGISTRY, name, value)
        try:
            yield REGISTRY
        finally:
            deactivate()


@contextmanager
def watched(registry: Registry, rules: Watchfulness = QUICK) -> Iterator[Watch]:
    """*registry* with a watch that looks closely."""
    watch = Watch(rules)
    registry.watched_by(watch)
    watch.start()
    try:
        yield watch
    finally:
        registry.watched_by(None)
        watch.stop()


@contextmanager
def requested(method: str = "GET", key: str | None = None, timeout: float = 30.0) -> Iterator[Request]:
    """A request under way in this task and in what it starts."""
    now = time.monotonic()
    request = Request("id", method, "/things", now, now + timeout, key=key)
    token = REQUEST.set(request)
    try:
        yield request
    finally:
        REQUEST.reset(token)


def read(connection: Connection) -> Any:
    return connection.scalar(text("SELECT 1"))


def insert(connection: Connection, name: str, part_of: str | None = None) -> None:
    connection.execute(
        text("INSERT INTO things VALUES (:name, :part_of)"), {"name": name, "part_of": part_of}
    )


def placing(name: str, part_of: str | None = None) -> Callable[[Connection], None]:
    """Work that writes *name* and commits."""

    def work(connection: Connection) -> None:
        insert(connection, name, part_of)
        connection.commit()

    return work


def names(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT name FROM things")))


async def until(condition: Callable[[], object], within: float = SOON) -> float:
    """Wait until *condition* holds; the seconds it took. Fails after *within* seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, "it never came about"
        await asyncio.sleep(0.01)
    return time.monotonic() - began
