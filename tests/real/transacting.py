"""One way to make transactions on five kinds of engine, by connections or by sessions, and to see events."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from asyncpg.exceptions import SerializationError
from hooked import ASYNCPG, Flavour
from psycopg.errors import SerializationFailure
from sqlalchemy import Connection, ForeignKey, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from holdfast import run_transaction, transaction
from holdfast.databases.sqlalchemy import adopt
from holdfast.drill.postgresql import PostgreSQL
from holdfast.events import BUS, Event

R = TypeVar("R")
E = TypeVar("E", bound=Event)


class Model(DeclarativeBase):
    """The tables of these tests."""


class Stock(Model):
    """Rows that many want to change at once."""

    __tablename__ = "stock"
    id: Mapped[int] = mapped_column(primary_key=True)
    left: Mapped[int]


class Part(Model):
    """Rows that need a row of `stock`; checked at COMMIT."""

    __tablename__ = "parts"
    id: Mapped[int] = mapped_column(primary_key=True)
    of: Mapped[int] = mapped_column(ForeignKey("stock.id", deferrable=True, initially="DEFERRED"))


class Note(Model):
    """Rows with a version."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    password: Mapped[str] = mapped_column(default="hunter2")
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as SQLAlchemy's manual has it


class Shop:
    """An engine, its sessions, and transactions on them. Work is a function of the synchronous object."""

    def __init__(self, flavour: Flavour, url: str, *, adopted: bool = True, **options: Any) -> None:
        self.flavour = flavour
        create: Any = create_async_engine if flavour.is_async else create_engine
        self.engine = create(url, **options)
        self.sync_engine = getattr(self.engine, "sync_engine", self.engine)
        make: Any = async_sessionmaker if flavour.is_async else sessionmaker
        self.sessions = make(self.engine, expire_on_commit=False)
        if adopted:
            adopt(self.engine, "shop")
        if flavour.backend == "sqlite":
            event.listen(self.sync_engine, "connect", _as_servers_do)

    async def run(self, work: Callable[[Any], R], *, sessions: bool = False, **options: Any) -> R:
        """What `run_transaction` makes of *work*, in a task or in a thread."""
        target = self.sessions if sessions else self.engine
        if not self.flavour.is_async:
            return await asyncio.to_thread(run_transaction, target, work, **options)

        async def in_task(made: Any) -> R:
            return await made.run_sync(work)

        return await run_transaction(target, in_task, **options)

    async def once(self, work: Callable[[Any], R], *, sessions: bool = False, **options: Any) -> R:
        """What a `transaction` makes of *work*."""
        target = self.sessions if sessions else self.engine
        if self.flavour.is_async:
            async with transaction(target, **options) as made:
                return await made.run_sync(work)

        def in_thread() -> R:
            with transaction(target, **options) as made:
                return work(made)

        return await asyncio.to_thread(in_thread)

    async def plainly(self, work: Callable[[Connection], R]) -> R:
        """*work* committed by SQLAlchemy alone."""
        if isinstance(self.engine, AsyncEngine):
            async with self.engine.begin() as connection:
                return await connection.run_sync(work)

        def in_thread() -> R:
            with self.engine.begin() as connection:
                return work(connection)

        return await asyncio.to_thread(in_thread)

    def checked_out(self) -> int:
        return getattr(self.sync_engine.pool, "checkedout", int)()

    async def dispose(self) -> None:
        if isinstance(self.engine, AsyncEngine):
            await self.engine.dispose()
        else:
            await asyncio.to_thread(self.engine.dispose)


def _as_servers_do(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON", "busy_timeout=20000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@asynccontextmanager
async def opened(
    flavour: Flavour, server: PostgreSQL, folder: Path, port: int | None = None, **options: Any
) -> AsyncIterator[Shop]:
    """A shop with three rows of ten in stock; it must leak no connection."""
    sqlite = f"sqlite+{flavour.driver}:///{folder}/shop.db"
    url = sqlite if flavour.backend == "sqlite" else server.url(flavour.driver, port=port)
    shop = Shop(flavour, url, **options)
    try:
        await shop.plainly(_prepare)
        yield shop
        assert shop.checked_out() == 0
    finally:
        await shop.dispose()


def _prepare(connection: Connection) -> None:
    Model.metadata.drop_all(connection)
    Model.metadata.create_all(connection)
    connection.execute(Stock.__table__.insert(), [{"id": number, "left": 10} for number in (1, 2, 3)])


@contextmanager
def told(kind: type[E]) -> Iterator[list[E]]:
    """The events of *kind* that are published meanwhile."""
    events: list[E] = []

    def follow(one: Event) -> None:
        if isinstance(one, kind):
            events.append(one)

    unsubscribe = BUS.subscribe(follow)
    try:
        yield events
    finally:
        unsubscribe()


def left(made: Connection | Session, number: int = 1) -> int:
    """How many of that row are there."""
    return made.execute(Stock.__table__.select().where(Stock.id == number)).one().left


def increment(made: Connection | Session) -> None:
    """Read, think, write: loses updates unless the database prevents it."""
    seen = left(made)
    made.execute(Stock.__table__.update().where(Stock.id == 1).values(left=seen + 1))


def contention(shop: Shop) -> DBAPIError:
    """What SQLAlchemy raises when another transaction was first."""
    if shop.flavour.backend == "sqlite":
        locked = sqlite3.OperationalError("database is locked")
        locked.sqlite_errorcode = sqlite3.SQLITE_BUSY  # type: ignore[misc]
        return OperationalError("UPDATE stock", {}, locked)
    return OperationalError(
        "UPDATE stock", {}, (SerializationError if shop.flavour is ASYNCPG else SerializationFailure)()
    )
