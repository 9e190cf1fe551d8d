"""Transactions leave all or nothing, store nothing invalid, and are not attempted too often (TXN-1, TXN-2).

Properties 5, 6 and 7, on a real SQLite file in memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from holdfast import run_transaction, transaction
from holdfast.databases.adopt import REGISTRY, Registry
from holdfast.work.transactions_retry import DEFAULTS, TransactionRules
from holdfast.work.transactions_told import LONGEST, MOST, told, told_all

pytestmark = pytest.mark.slow
TABLE = "CREATE TABLE goods (id integer PRIMARY KEY, amount integer NOT NULL CHECK (amount >= 0))"
IDS = st.integers(1, 8)
AMOUNTS = st.integers(-3, 9)
INSERT = st.tuples(st.just("INSERT INTO goods VALUES (:id, :amount)"), IDS, AMOUNTS)
UPDATE = st.tuples(st.just("UPDATE goods SET amount = amount + :amount WHERE id = :id"), IDS, AMOUNTS)
DELETE = st.tuples(st.just("DELETE FROM goods WHERE id = :id AND :amount = :amount"), IDS, AMOUNTS)
READ = st.tuples(st.just("SELECT * FROM goods WHERE id = :id AND :amount = :amount"), IDS, AMOUNTS)
MAKE = st.tuples(st.just("CREATE TABLE IF NOT EXISTS other (id integer)"), IDS, AMOUNTS)
OPERATIONS = st.lists(st.one_of(INSERT, UPDATE, DELETE, READ, MAKE), max_size=12)
ROWS = st.dictionaries(IDS, st.integers(0, 9), max_size=6)

Operation = tuple[str, int, int]


@pytest.fixture(scope="module", autouse=True)
def registry() -> Iterator[None]:
    """Engines by the hundred are adopted here: nobody else shall meet them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in vars(Registry()).items():
            patch.setattr(REGISTRY, name, value)
        yield


@contextmanager
def goods(rows: dict[int, int]) -> Iterator[Any]:
    """An engine on a database of its own that holds *rows*."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.begin() as connection:
            connection.execute(text(TABLE))
            for id_, amount in rows.items():
                connection.execute(text(INSERT_ONE), {"id": id_, "amount": amount})
        yield engine
    finally:
        engine.dispose()


INSERT_ONE = "INSERT INTO goods VALUES (:id, :amount)"


def everything(engine: Any) -> tuple[dict[int, int], list[str]]:
    with engine.connect() as connection:
        rows = {row.id: row.amount for row in connection.execute(text("SELECT id, amount FROM goods"))}
        tables = list(connection.scalars(text("SELECT name FROM sqlite_master ORDER BY name")))
    return rows, tables


def do(made: Connection | Session, operations: list[Operation]) -> None:
    for statement, id_, amount in operations:
        made.execute(text(statement), {"id": id_, "amount": amount})


def once(target: Any, work: Any) -> None:
    with transaction(target) as made:
        work(made)


class Interrupted(BaseException):
    """Not even an Exception: a cancellation, a signal."""


@given(
    ROWS,
    OPERATIONS,
    st.integers(0, 12),
    st.booleans(),
    st.booleans(),
    st.sampled_from([ValueError, Interrupted]),
)
@settings(max_examples=150, deadline=None)
def test_a_transaction_that_fails_anywhere_leaves_nothing(
    rows, operations, failing, sessions, again, kind
) -> None:
    """Property 6: whatever it did, wherever it fails."""

    def work(made: Connection | Session) -> None:
        do(made, operations[:failing])
        raise kind

    with goods(rows) as engine:
        before = everything(engine)
        target = sessionmaker(engine) if sessions else engine
        with pytest.raises((kind, IntegrityError)):
            run_transaction(target, work) if again else once(target, work)

        assert everything(engine) == before
        assert not engine.raw_connection().driver_connection.in_transaction


@given(ROWS, OPERATIONS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_violates_a_constraint_is_never_stored(rows, operations, sessions) -> None:
    """Property 5: the whole transaction is there, or, if one of its rows may not be, nothing of it."""
    expected, valid = model(rows, operations)
    with goods(rows) as engine:
        target = sessionmaker(engine) if sessions else engine
        with contextlib.nullcontext() if valid else pytest.raises(IntegrityError):
            run_transaction(target, lambda made: do(made, operations))

        stored, _ = everything(engine)
        assert stored == (expected if valid else rows)
        assert all(amount >= 0 for amount in stored.values())


def model(rows: dict[int, int], operations: list[Operation]) -> tuple[dict[int, int], bool]:
    """What the table should hold afterwards, and whether it may."""
    held = dict(rows)
    for statement, id_, amount in operations:
        kind = statement.split()[0]
        if kind == "INSERT":
            if id_ in held or amount < 0:
                return held, False
            held[id_] = amount
        elif kind == "UPDATE" and id_ in held:
            held[id_] += amount
            if held[id_] < 0:
                return held, False
        elif kind == "DELETE":
            held.pop(id_, None)
    return held, True


@given(st.integers(1, 6), st.integers(0, 8), st.one_of(st.none(), st.integers(1, 6)))
@settings(max_examples=150, deadline=None)
def test_attempts_never_exceed_the_maximum(default, failures, asked) -> None:
    """Property 7: and the work is stored exactly once if one of them went well, else not at all."""
    most = default if asked is None else asked
    made_so_far = 0

    def work(connection: Connection) -> int:
        nonlocal made_so_far
        made_so_far += 1
        connection.execute(text(INSERT_ONE), {"id": made_so_far, "amount": made_so_far})
        if made_so_far <= failures:
            raise locked()
        return made_so_far

    before, DEFAULTS.rules = (
        DEFAULTS.rules,
        TransactionRules(attempts=default, base_delay=0.0, most_delay=0.0),
    )
    try:
        with goods({}) as engine:
            if failures < most:
                assert run_transaction(engine, work, attempts=asked) == failures + 1
            else:
                with pytest.raises(DBAPIError):
                    run_transaction(engine, work, attempts=asked)

            assert made_so_far == min(failures + 1, most)
            assert everything(engine)[0] == ({failures + 1: failures + 1} if failures < most else {})
    finally:
        DEFAULTS.rules = before


def locked() -> DBAPIError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return OperationalError("INSERT", {}, error)


SECRETS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=20).map(
        lambda value: "Zq" + value + "qZ"
    ),
)
SHAPES = st.sampled_from(
    [
        "INSERT INTO users (name, age) VALUES ({}, 1)",
        "UPDATE users SET name = {} WHERE id = 3",
        "SELECT * FROM users WHERE name={} AND note LIKE {}",
        "DELETE FROM users WHERE name IN ({},{}) -- {}",
        "/* {} */ UPDATE users SET name = {}",
        "INSERT INTO users SELECT $tag${}$tag$, {}",
    ]
)


@given(SHAPES, SECRETS)
@settings(max_examples=500)
def test_no_value_is_told(shape, secret) -> None:
    """TXN-1: quoted as a database would; in doubt only the kind of the statement is told."""
    assume("$tag$" not in secret)
    literal = "'" + secret.replace("'", "''") + "'"
    bare = secret.replace("*/", "").replace("\n", "")
    statement = (
        shape.format(literal, literal, bare)
        if "--" in shape
        else shape.format(bare if shape[0] == "/" else literal, literal)
    )

    line = told(statement)

    assert "Zq" not in line
    assert len(line) <= LONGEST


@given(st.lists(st.text(max_size=60), max_size=60), st.sampled_from(['"', "`"]))
@settings(max_examples=200)
def test_at_most_twenty_lines_are_told_whatever_was_sent(statements, quote) -> None:
    lines = told_all(statements[-MOST:], len(statements), quote)

    assert len(lines) == min(len(statements), MOST)
    assert all(len(line) <= LONGEST and "\n" not in line for line in lines)
