"""TXN-1: what is told, refused and put up with, however a transaction is used."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hooked import AIOSQLITE, ASYNCPG, EVERY, POSTGRESQL, PSYCOPG, SQLITE, Flavour, isolated
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, UnboundExecutionError
from sqlalchemy.orm import Session, sessionmaker
from transacting import Shop, Stock, contention, increment, left, opened, told

from holdfast import run_transaction, transaction
from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.work.events import TransactionRolledBack

every = pytest.mark.parametrize("flavour", EVERY, ids=str)
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
def rolled_back() -> Iterator[list[TransactionRolledBack]]:
    with told(TransactionRolledBack) as events:
        yield events


@every
async def test_its_operations_are_told_without_values(
    shop: Shop, rolled_back: list[TransactionRolledBack]
) -> None:
    """TXN-1: kind, table and text; at most 20 of them."""

    def work(made: Connection) -> None:
        for number in range(30):
            made.execute(text(f'UPDATE stock SET "left" = {4711 + number} WHERE id = :id'), {"id": 1})
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await shop.once(work)

    operations = rolled_back[0].operations
    assert (len(operations), operations[0]) == (20, "11 more before")
    assert operations[-1].startswith('UPDATE stock: UPDATE stock SET "left" = ? WHERE id = ')
    assert not any("47" in one for one in operations)


@every
@both
async def test_committing_by_hand_inside_is_refused(shop: Shop, sessions: bool) -> None:
    """TXN-1: or half of it would stay; swallowed, it is raised at the end."""

    def by_method(made: Connection | Session) -> None:
        increment(made)
        made.commit()

    def by_statement(made: Connection | Session) -> None:
        increment(made)
        made.execute(text("COMMIT"))

    def swallowed(made: Connection | Session) -> None:
        increment(made)
        with contextlib.suppress(RuntimeError):
            made.commit()

    for work in (by_method, by_statement, swallowed):
        with pytest.raises(RuntimeError, match="COMMIT inside of a transaction"):
            await shop.once(work, sessions=sessions)
        assert await shop.once(left) == 10


@every
@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("/* hi */ COMMIT", "COMMIT"),
        ("-- x\nCOMMIT", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("/* hi */ rollback", "ROLLBACK"),
    ],
)
async def test_what_would_end_it_inside_is_refused(shop: Shop, statement: str, word: str) -> None:
    """TXN-1: a comment hides nothing; what came before a ROLLBACK would be lost, what comes after it not."""

    def work(made: Connection) -> None:
        increment(made)
        made.execute(text(statement))
        increment(made)

    with pytest.raises(RuntimeError, match=f"{word} inside of a transaction"):
        await shop.once(work)
    assert await shop.once(left) == 10


@every
async def test_a_savepoint_may_be_rolled_back_by_statement(shop: Shop) -> None:
    """TXN-1: that ends no transaction."""

    def work(made: Connection) -> None:
        increment(made)
        for back in ("ROLLBACK TO one", "ROLLBACK TRANSACTION TO SAVEPOINT one"):
            made.execute(text("SAVEPOINT one"))
            increment(made)
            made.execute(text(back))

    await shop.once(work)
    assert await shop.once(left) == 11


@every
@both
@pytest.mark.parametrize("again", [False, True], ids=["transaction", "run_transaction"])
async def test_a_swallowed_error_is_no_success(
    shop: Shop, sessions: bool, again: bool, rolled_back: list[TransactionRolledBack]
) -> None:
    """TXN-1: PostgreSQL answers the COMMIT of a transaction in which a statement failed with ROLLBACK."""

    def work(made: Connection | Session) -> None:
        increment(made)
        with contextlib.suppress(IntegrityError):
            made.execute(Stock.__table__.insert().values(id=1, left=0))

    run = shop.run if again else shop.once
    if shop.flavour.backend == "sqlite":  # there it goes on
        await run(work, sessions=sessions)
        assert await shop.once(left) == 11
        return
    with pytest.raises(RuntimeError, match=r"a statement .* failed and its error was caught"):
        await run(work, sessions=sessions)

    assert [one.operations[0].split(":")[0] for one in rolled_back] == ["SELECT stock"]
    assert await shop.once(left) == 10
    assert shop.checked_out() == 0


@pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
async def test_an_error_swallowed_while_its_rows_are_streamed_is_no_success(shop: Shop) -> None:
    """TXN-1: the statement went well, and a later row of it did not."""

    def work(made: Connection) -> None:
        increment(made)
        late = text("SELECT 1 / (400 - n) FROM generate_series(1, 500) AS n")
        rows = made.execution_options(yield_per=2).execute(late)
        with pytest.raises(Exception, match="division by zero"):  # asyncpg's own, past SQLAlchemy
            rows.all()

    with pytest.raises(RuntimeError, match="its error was caught"):
        await shop.once(work)
    assert await shop.once(left) == 10


@every
async def test_a_savepoint_inside_may_be_rolled_back(shop: Shop) -> None:
    def work(made: Connection) -> None:
        increment(made)
        with pytest.raises(IntegrityError), made.begin_nested():
            made.execute(Stock.__table__.insert().values(id=1, left=0))
        increment(made)

    await shop.once(work)

    assert await shop.once(left) == 12


@pytest.mark.parametrize("flavour", [SQLITE, AIOSQLITE, ASYNCPG, PSYCOPG], ids=str)
async def test_used_twice_or_wrongly_it_says_so(shop: Shop) -> None:
    one = transaction(shop.engine)
    if shop.flavour.is_async:
        async with one:
            pass
        with pytest.raises(RuntimeError, match=r"has been used; call transaction\(\) again"):
            async with one:
                pass
        with pytest.raises(TypeError, match="use `async with"), transaction(shop.engine):
            pass
        async with shop.sessions() as session:
            with pytest.raises(TypeError, match="not one of its sessions; this is AsyncSession"):
                transaction(session)
    else:
        with one:
            pass
        with pytest.raises(RuntimeError, match=r"has been used; call transaction\(\) again"), one:
            pass
        with pytest.raises(TypeError, match="use `with"):
            async with transaction(shop.engine):
                pass

        async def work(made: Any) -> None:
            """Never awaited."""

        with pytest.raises(TypeError, match="was given an `async def`"):
            run_transaction(shop.engine, work)

        def lazily(made: Any) -> Iterator[int]:
            yield increment(made) or 1

        for generator in (lazily, partial(lazily), Lazily()):
            with pytest.raises(TypeError, match="was given a generator function"):
                run_transaction(shop.engine, generator)
    with pytest.raises(TypeError, match="this is str"):
        transaction("sqlite://")
    for level in ("AUTOCOMMIT", "autocommit"):
        with pytest.raises(ValueError, match="no transaction"):
            transaction(shop.engine, isolation=level)


@every
@both
async def test_an_engine_that_commits_each_statement_is_refused(shop: Shop, sessions: bool) -> None:
    """TXN-1: nothing could be rolled back."""
    shop.engine = shop.engine.execution_options(isolation_level="AUTOCOMMIT")
    shop.sessions.configure(bind=shop.engine)
    with pytest.raises(ValueError, match="'shop' commits each statement by itself"):
        await shop.once(increment, sessions=sessions)

    assert await shop.once(left, isolation="SERIALIZABLE", sessions=sessions) == 10


@pytest.mark.parametrize("flavour", [SQLITE], ids=str)
async def test_in_a_thread_that_runs_a_loop_nothing_is_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TXN-2: a pause there would stop all that the loop serves."""
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("slept on a loop"))
    attempts = []

    def work(made: Connection) -> int:
        attempts.append(1)
        increment(made)
        if len(attempts) < 4:
            raise contention(shop)
        return left(made)

    assert run_transaction(shop.engine, work, attempts=4) == 11


@pytest.mark.parametrize("flavour", [SQLITE], ids=str)
async def test_sessions_bound_to_a_connection_leave_it_as_it_was(shop: Shop) -> None:
    """As tests do, to undo everything at their end: what is inside takes part in what is outside."""
    with shop.engine.connect() as connection:
        outer = connection.begin()
        sessions = sessionmaker(connection, join_transaction_mode="create_savepoint")
        for _ in range(3):
            run_transaction(sessions, increment)
        with pytest.raises(ValueError, match="no"):
            run_transaction(sessions, failing)
        assert left(connection) == 13
        connection.execute(text("SELECT 1"))
        outer.commit()  # no listener of ours is left to refuse it

    assert await shop.once(left) == 13


@every
async def test_sessions_whose_tables_are_bound_one_by_one_take_part(shop: Shop) -> None:
    """There is no connection to begin with; it joins when it is used."""
    shop.sessions.configure(bind=None, binds={Stock: shop.engine})
    with told(TransactionRolledBack) as events, pytest.raises(ValueError, match="no"):
        await shop.once(failing, sessions=True)

    assert [len(one.operations) for one in events] == [2]
    assert await shop.once(left) == 10
    with pytest.raises(UnboundExecutionError):
        await shop.once(left, sessions=True, isolation="SERIALIZABLE")


def failing(session: Session) -> None:
    row = session.get_one(Stock, 1)
    row.left = 0
    session.flush()
    raise ValueError("no")


class Lazily:
    """Work that would not begin before the transaction is over."""

    def __call__(self, made: Any) -> Iterator[int]:
        increment(made)
        yield 1
