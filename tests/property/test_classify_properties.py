"""ERR-2: whatever is raised, the verdict is there, and it is never hopeful about the unknown."""

from __future__ import annotations

import builtins
import sqlite3

import asyncpg
import psycopg.errors
import sqlalchemy.exc
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.faults import sqlstate
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify


def plain(module: object) -> list[type[Exception]]:
    """The exception classes of *module* that one text makes an instance of."""
    found = []
    for one in vars(module).values():
        if isinstance(one, type) and issubclass(one, Exception) and not issubclass(one, ExceptionGroup):
            try:
                one("told")
            except (TypeError, AttributeError):
                continue
            found.append(one)
    return found


CLASSES = [
    one for module in (builtins, sqlite3, asyncpg, psycopg.errors, sqlalchemy.exc) for one in plain(module)
]
values = st.none() | st.integers() | st.text(max_size=20) | st.from_regex(r"[0-9A-Z]{5}", fullmatch=True)
attributes = st.dictionaries(
    st.sampled_from(
        ["sqlstate", "pgcode", "sqlite_errorcode", "errno", "detail", "diag", "connection_invalidated"]
    ),
    values | st.booleans(),
    max_size=4,
)


@st.composite
def single(draw: st.DrawFn) -> Exception:
    exc = draw(st.sampled_from(CLASSES))(draw(st.text(max_size=60)))
    for name, value in draw(attributes).items():
        try:
            setattr(exc, name, value)
        except (AttributeError, TypeError):
            continue
    return exc


def nested(inner: st.SearchStrategy[Exception]) -> st.SearchStrategy[Exception]:
    def wrap(orig: Exception) -> Exception:
        return sqlalchemy.exc.DBAPIError("SELECT 1", {}, orig)

    def follow(cause: Exception) -> Exception:
        exc = LookupError("of an application")
        exc.__cause__ = cause
        return exc

    groups = st.lists(inner, min_size=1, max_size=4).map(lambda some: ExceptionGroup("", some))
    return inner.map(wrap) | inner.map(follow) | groups


exceptions = st.recursive(single(), nested, max_leaves=6)


@settings(max_examples=500)
@given(exc=exceptions, database=st.booleans())
def test_a_verdict_is_always_given_and_always_the_same(exc: Exception, database: bool) -> None:
    fault = classify(exc, database=database)

    assert isinstance(fault, Fault)
    assert fault == classify(exc, database=database)
    assert 400 <= fault.status <= 599


@settings(max_examples=500)
@given(exc=exceptions, database=st.booleans())
def test_what_is_unknown_is_never_run_again(exc: Exception, database: bool) -> None:
    fault = classify(exc, database=database)

    assert not (fault.category is Category.UNKNOWN and fault.transient)
    assert not fault.transient or fault.status == 503


@settings(max_examples=300)
@given(exceptions=st.lists(exceptions, min_size=1, max_size=5))
def test_a_group_is_never_more_hopeful_than_any_of_its_members(exceptions: list[Exception]) -> None:
    faults = [classify(one) for one in exceptions]
    whole = classify(ExceptionGroup("", exceptions))

    assert whole.transient <= all(one.transient for one in faults)
    assert whole.lost <= any(one.lost for one in faults)
    assert whole.outcome is Outcome.UNKNOWN or all(one.outcome is Outcome.NOT_APPLIED for one in faults)


@given(st.from_regex(r"[0-9A-Z]{5}", fullmatch=True))
def test_every_sqlstate_has_a_verdict_that_carries_it(code: str) -> None:
    fault = sqlstate.verdict(code)

    assert fault.code == code
    assert fault.category is not Category.UNKNOWN


@given(
    st.text(max_size=30), st.text(max_size=200), st.sampled_from(["email", "tenant, email", "lower(email)"])
)
def test_no_value_of_a_row_is_taken_for_a_column(before: str, value: str, columns: str) -> None:
    exc = asyncpg.UniqueViolationError("duplicate key value violates unique constraint")
    exc.detail = f"Key ({columns})=({value}) already exists.{before}"

    assert set(classify(exc).fields) <= {"email", "tenant"}
