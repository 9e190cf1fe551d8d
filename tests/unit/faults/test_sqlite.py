"""ERR-2: what SQLite's codes mean, raised by SQLite itself."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify

SCHEMA = """
    create table shops (id integer primary key);
    create table items (
        id integer primary key, name text not null unique, shop integer references shops,
        count integer check (count > 0)
    );
    insert into items (id, name) values (1, 'rope');
"""


def raised(statement: str) -> Fault:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        connection.execute("pragma foreign_keys = on")
        with pytest.raises(sqlite3.Error) as told:
            connection.execute(statement)
    return classify(told.value)


@pytest.mark.parametrize(
    ("statement", "category", "status", "code", "fields"),
    [
        ("insert into items (name) values ('rope')", "conflict", 409, "UNIQUE", ("name",)),
        ("insert into items values (1, 'x', null, 1)", "conflict", 409, "PRIMARYKEY", ("id",)),
        ("insert into items (name, shop) values ('x', 9)", "conflict", 409, "FOREIGNKEY", ()),
        ("insert into items (name) values (null)", "validation", 422, "NOTNULL", ("name",)),
        ("insert into items (name, count) values ('x', 0)", "validation", 422, "CHECK", ()),
        ("insert into items (id, name) values ('x', 'x')", "validation", 422, "MISMATCH", ()),
        ("select nothing from nowhere", "database_query", 500, "ERROR", ()),
    ],
)
def test_a_refused_statement(
    statement: str, category: str, status: int, code: str, fields: tuple[str, ...]
) -> None:
    fault = raised(statement)

    assert (fault.category, fault.status, fault.fields) == (category, status, fields)
    assert str(fault.code).removeprefix("SQLITE_").removeprefix("CONSTRAINT_") == code
    assert not fault.transient
    assert fault.outcome is Outcome.NOT_APPLIED


def test_a_file_locked_by_another_is_worth_another_attempt_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as holder, closing(sqlite3.connect(file, timeout=0)) as other:
        holder.execute("create table items (name)")
        holder.execute("begin exclusive")
        with pytest.raises(sqlite3.OperationalError) as told:
            other.execute("insert into items values ('x')")
        holder.rollback()
    fault = classify(told.value)

    assert (fault.code, fault.status, fault.transient, fault.lost) == ("SQLITE_BUSY", 503, True, False)
    assert fault.outcome is Outcome.NOT_APPLIED


def test_a_file_that_cannot_be_opened_is_somebody_s_to_mend(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as told:
        sqlite3.connect(tmp_path / "missing" / "shop.db")
    fault = classify(told.value)

    assert (fault.category, fault.transient) == (Category.DATABASE_CONNECTION, False)


def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    file.write_bytes(b"this is a letter, not a database" * 100)
    with closing(sqlite3.connect(file)) as connection, pytest.raises(sqlite3.DatabaseError) as told:
        connection.execute("select * from items")

    assert classify(told.value).code == "SQLITE_NOTADB"
