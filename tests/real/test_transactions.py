"""TXN-1, TXN-2: all or nothing on every driver; what passes is attempted again, nothing leaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked import EVERY, POSTGRESQL, Flavour, isolated, requested
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from transacting import Part, Shop, Stock, contention, increment, left, opened, told

from holdfast import run_transaction, transaction
from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.work.events import TransactionRetried, TransactionRolledBack

every = pytest.mark.parametrize("flavour", EVERY, ids=str)
on_postgresql = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
both = pytest.mark.parametrize("sessions", [False, True], ids=["connection", "session"])


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, tmp_path: Path
) -> AsyncIterator[Shop]:
    options = {"pool_size": 20, "max_overflow": 0, "pool_timeout": 60}
    async with opened(flavour, shared_postgresql, tmp_path, **options) as shop:
        yield shop


@pytest.fixture
def retried() -> Iterator[list[TransactionRetried]]:
    with told(TransactionRetried) as events:
        yield events


@pytest.fixture
def rolled_back() -> Iterator[list[TransactionRolledBack]]:
    with told(TransactionRolledBack) as events:
        yield events


@every
@both
async def test_two_hundred_increments_at_once_make_two_hundred(shop: Shop, sessions: bool) -> None:
    """TXN-2: at SERIALIZABLE, through at most 20 connections."""
    options: dict[str, Any] = {"isolation": "SERIALIZABLE", "attempts": 60, "sessions": sessions}
    async with asyncio.timeout(100):
        await asyncio.gather(*(shop.run(increment, **options) for _ in range(200)))

    assert await shop.once(left) == 210


@every
@both
async def test_what_its_block_did_is_there(shop: Shop, sessions: bool) -> None:
    await shop.once(increment, sessions=sessions)
    assert await shop.run(lambda made: (increment(made), left(made))[1], sessions=sessions) == 12

    assert await shop.once(left) == 12


@every
@both
@pytest.mark.parametrize("again", [False, True], ids=["transaction", "run_transaction"])
async def test_any_error_leaves_nothing(
    shop: Shop, sessions: bool, again: bool, rolled_back: list[TransactionRolledBack]
) -> None:
    """Property 6, TXN-1: a table made inside goes too, where the database can."""
    given = ValueError("no")

    def work(made: Connection | Session) -> None:
        made.execute(text("CREATE TABLE never (id integer)"))
        increment(made)
        raise given

    with pytest.raises(ValueError, match="no") as raised:
        await (shop.run if again else shop.once)(work, sessions=sessions)

    assert raised.value is given
    assert await shop.once(left) == 10
    with pytest.raises(DBAPIError):
        await shop.once(lambda made: made.execute(text("SELECT * FROM never")))
    event = rolled_back[0]
    assert (event.database, event.cause) == ("shop", "ValueError: no")
    assert [one.split(":")[0] for one in event.operations[:3]] == [
        "CREATE never",
        "SELECT stock",
        "UPDATE stock",
    ]


@every
async def test_a_constraint_that_is_violated_is_never_stored(shop: Shop) -> None:
    """Property 5: at the statement, and at COMMIT; nothing that would fail again is attempted again."""
    attempts = []

    def twice(made: Connection) -> None:
        attempts.append(1)
        increment(made)
        made.execute(Stock.__table__.insert().values(id=1, left=0))

    def orphan(made: Connection) -> None:
        attempts.append(1)
        increment(made)
        made.execute(Part.__table__.insert().values(id=1, of=99))

    for work in (twice, orphan):
        with pytest.raises(IntegrityError):
            await shop.run(work)

    assert len(attempts) == 2
    assert await shop.once(left) == 10


@on_postgresql
@both
async def test_a_deadlock_is_resolved(shop: Shop, sessions: bool, retried: list[TransactionRetried]) -> None:
    """TXN-2: two that take two rows in opposite order both have their effect."""
    meet = threading.Barrier(2) if not shop.flavour.is_async else None
    entered = [0]

    def lock(made: Any, number: int) -> None:
        made.execute(Stock.__table__.update().where(Stock.id == number).values(left=Stock.left - 1))

    async def in_task(first: int, second: int) -> None:
        attempts = [0]

        async def work(made: Any) -> None:
            attempts[0] += 1
            await made.run_sync(lock, first)
            entered[0] += 1
            while attempts[0] == 1 and entered[0] < 2:
                await asyncio.sleep(0.005)
            await made.run_sync(lock, second)

        await run_transaction(shop.sessions if sessions else shop.engine, work, attempts=5)

    def in_thread(first: int, second: int) -> None:
        attempts = [0]

        def work(made: Any) -> None:
            attempts[0] += 1
            lock(made, first)
            if attempts[0] == 1 and meet is not None:
                meet.wait(20)
            lock(made, second)

        run_transaction(shop.sessions if sessions else shop.engine, work, attempts=5)

    if shop.flavour.is_async:
        await asyncio.gather(in_task(1, 2), in_task(2, 1))
    else:
        await asyncio.gather(asyncio.to_thread(in_thread, 1, 2), asyncio.to_thread(in_thread, 2, 1))

    assert [await shop.once(lambda made, n=n: left(made, n)) for n in (1, 2)] == [8, 8]
    assert [(one.database, one.attempt) for one in retried] == [("shop", 2)]


@every
async def test_attempts_never_exceed_the_maximum(shop: Shop, retried: list[TransactionRetried]) -> None:
    """Property 7: counted; the error is the original, with a note."""
    attempts = []

    def work(made: Connection) -> None:
        attempts.append(1)
        increment(made)
        raise contention(shop)

    for most in (1, 2, 4):
        attempts.clear()
        retried.clear()
        with pytest.raises(DBAPIError) as raised:
            await shop.run(work, attempts=most)

        assert len(attempts) == most
        assert [one.attempt for one in retried] == list(range(2, most + 1))
        times = "once" if most == 1 else f"{most} times"
        assert f"attempted {times} in" in raised.value.__notes__[-1]
    assert await shop.once(left) == 10
    with pytest.raises(ValueError, match="attempts is 0"):
        await shop.run(work, attempts=0)


@on_postgresql
@both
async def test_a_connection_reset_before_commit_is_no_failure(
    flavour: Flavour, sessions: bool, registry: Registry, postgresql: PostgreSQL, proxy: Proxy, tmp_path: Path
) -> None:
    """TXN-2: reset in the middle, on the second and the first statement."""
    async with opened(flavour, postgresql, tmp_path, proxy.port) as shop:
        with told(TransactionRetried) as retried:
            attempts = []

            def work(made: Any) -> int:
                attempts.append(1)
                increment(made)
                if len(attempts) < 3:
                    proxy.reset_all()
                increment(made)
                return len(attempts)

            assert await shop.run(work, sessions=sessions) == 3

        assert [one.attempt for one in retried] == [2, 3]
        assert await shop.once(left) == 12


@on_postgresql
async def test_a_resolved_fault_is_not_charged_to_its_request(
    flavour: Flavour, registry: Registry, postgresql: PostgreSQL, proxy: Proxy, tmp_path: Path
) -> None:
    """TXN-2, REQ-4: the request's later answer, whatever it is, is not about that."""
    async with opened(flavour, postgresql, tmp_path, proxy.port) as shop:
        attempts = []

        def work(made: Any) -> None:
            increment(made)
            attempts.append(1)
            if len(attempts) == 1:
                proxy.reset_all()
            increment(made)

        with requested("POST") as request:
            await shop.run(work)

        assert len(attempts) == 2
        assert (request.ledger.fault, request.ledger.error, request.ledger.lost) == (None, None, None)


@on_postgresql
async def test_the_deadline_of_its_request_ends_the_attempts(shop: Shop) -> None:
    """TXN-2: the next attempt would come too late."""
    attempts = []

    def work(made: Connection) -> None:
        attempts.append(1)
        raise contention(shop)

    with requested("POST", timeout=0.0), pytest.raises(DBAPIError) as raised:
        await shop.run(work, attempts=50)

    assert len(attempts) == 1
    assert "the deadline comes before" in raised.value.__notes__[-1]


@pytest.mark.parametrize("flavour", [one for one in EVERY if one.is_async], ids=str)
@both
async def test_cancelled_it_rolls_back_and_gives_its_connection_back(
    shop: Shop, sessions: bool, rolled_back: list[TransactionRolledBack]
) -> None:
    """TXN-1: in the middle of a statement of a task."""
    entered = asyncio.Event()
    pause = text("SELECT pg_sleep(30)")

    async def work(made: Any) -> None:
        await made.run_sync(increment)
        entered.set()
        if shop.flavour.backend == "sqlite":
            await asyncio.sleep(30)
        await made.execute(pause)

    async def block() -> None:
        async with transaction(shop.sessions if sessions else shop.engine) as made:
            await work(made)

    for run in (block(), run_transaction(shop.sessions if sessions else shop.engine, work)):
        entered.clear()
        task = asyncio.ensure_future(run)
        await entered.wait()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert shop.checked_out() == 0
        assert await shop.once(left) == 10
    assert [one.cause for one in rolled_back] == ["CancelledError", "CancelledError"]
