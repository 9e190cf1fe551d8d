"""TXN-2, TXN-4: what commits beside a transaction, or inside of its work, says nothing of its own COMMIT."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked import POSTGRESQL, Flavour, isolated, requested, watched
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import IntegrityError
from transacting import Part, Shop, Stock, left, opened, told

from holdfast import run_transaction
from holdfast.context import Marker
from holdfast.databases.adopt import MarkerRules, Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.events import CommitInDoubt
from holdfast.work.events import TransactionRolledBack

every = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
marked = pytest.mark.parametrize("marking", [True, False], ids=["marked", "no marker"])
nested = pytest.mark.parametrize("inner", ["begin", "run_transaction"])


@pytest.fixture
def marking() -> bool:
    return True


@pytest.fixture
def registry(marking: bool) -> Iterator[Registry]:
    with isolated() as registry, watched(registry):
        registry.markers = MarkerRules(active=marking)
        yield registry


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, tmp_path: Path
) -> AsyncIterator[Shop]:
    async with opened(flavour, shared_postgresql, tmp_path, pool_size=5) as shop:
        await shop.plainly(lambda made: made.execute(text("SELECT 1")))
        yield shop


def audit(made: Connection) -> None:
    made.execute(Stock.__table__.update().where(Stock.id == 3).values(left=Stock.left + 1))


def orphan(made: Connection) -> None:
    """Refused at COMMIT."""
    made.execute(Part.__table__.insert().values(id=1, of=99))


def skewed(made: Connection) -> None:
    made.execute(text("SELECT sum(id) FROM parts")).all()
    made.execute(Stock.__table__.update().where(Stock.id == 2).values(left=Stock.left - 1))


async def audited(
    shop: Shop, inner: str, work: Callable[[Connection], Any], beside: Callable[[], Any], **options: Any
) -> Any:
    """Run *work* in a transaction inside of which another one commits, and *beside* is called."""
    if shop.flavour.is_async:

        async def in_task(made: Any) -> Any:
            result = await made.run_sync(work)
            await (shop.plainly(audit) if inner == "begin" else shop.run(audit))
            await asyncio.to_thread(beside)
            return result

        return await run_transaction(shop.engine, in_task, **options)

    def in_thread(made: Connection) -> Any:
        result = work(made)
        if inner == "begin":
            with shop.engine.begin() as other:
                audit(other)
        else:
            run_transaction(shop.engine, audit)
        beside()
        return result

    return await asyncio.to_thread(run_transaction, shop.engine, in_thread, **options)


@every
@marked
@nested
async def test_what_is_refused_at_commit_is_raised_as_it_was(shop: Shop, inner: str) -> None:
    """TXN-4: the other transaction was committed; this one was not, and its server said so."""
    with (
        told(TransactionRolledBack) as rolled_back,
        told(CommitInDoubt) as doubts,
        pytest.raises(IntegrityError) as raised,
    ):
        await audited(shop, inner, orphan, lambda: None)

    assert not any("committed" in note for note in getattr(raised.value, "__notes__", ()))
    assert (len(rolled_back), doubts) == (1, [])
    assert await shop.once(lambda made: left(made, 3)) == 11


@every
@marked
@nested
async def test_a_race_lost_at_commit_is_run_again(
    shop: Shop, inner: str, shared_postgresql: PostgreSQL
) -> None:
    """TXN-2: write skew, found when it commits."""
    attempts = []

    def work(made: Connection) -> int:
        attempts.append(1)
        made.execute(text('SELECT sum("left") FROM stock WHERE id < 3')).all()
        made.execute(Part.__table__.insert().values(id=len(attempts), of=1))
        return len(attempts)

    def other() -> None:
        if len(attempts) > 1:
            return
        engine = create_engine(shop.sync_engine.url.set(drivername="postgresql+psycopg"))
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as made, made.begin():
            skewed(made)
        engine.dispose()

    assert await audited(shop, inner, work, other, isolation="SERIALIZABLE") == 2
    assert [await shop.once(lambda made, n=n: left(made, n)) for n in (2, 3)] == [9, 12]


@every
async def test_two_of_one_keyed_request_are_judged_each_by_its_own(shop: Shop) -> None:
    """TXN-4: they share the request's marker, and no more."""
    committed = threading.Event()

    async def first() -> None:
        await audited(shop, "begin", orphan, lambda: committed.wait(20))

    async def second() -> None:
        await shop.run(lambda made: made.execute(Part.__table__.insert().values(id=2, of=2)) and None)
        committed.set()

    with requested("POST", key="k") as request:
        request.marker = Marker(secrets.token_hex(32), "print")
        results = await asyncio.gather(first(), second(), return_exceptions=True)

    assert [type(one) for one in results] == [IntegrityError, type(None)]
    assert await shop.once(lambda made: made.scalar(text("SELECT id FROM parts"))) == 2


@every
@marked
async def test_a_connection_older_than_its_hooks_is_judged_by_what_its_server_said(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """TXN-4: its own COMMIT is seen by no hook, that of another connection is."""
    async with opened(flavour, shared_postgresql, tmp_path, adopted=False, pool_size=5) as shop:
        assert not hasattr(shop.sync_engine, "_holdfast_hooks")
        with pytest.raises(IntegrityError) as raised:
            await audited(shop, "begin", orphan, lambda: None)

        assert not any("committed" in note for note in getattr(raised.value, "__notes__", ()))
