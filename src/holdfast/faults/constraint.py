"""Which columns a violated constraint is about: names only, never a row's values."""

from __future__ import annotations

import re

_KEY = re.compile(r"\(([^\n]{1,2000}?)\)=\(")
_CALL = re.compile(r"\w+\(\(?(\w+)\)?(?:::[\w ]+)?\)", re.ASCII)
_SQLITE = re.compile(r"(?:UNIQUE|NOT NULL) constraint failed: ([\w., ]+)")
_SQLITE_INDEX = re.compile(r"UNIQUE constraint failed: index '([^'\n]{1,200})'")
_MYSQL = re.compile(r"(?:for key '(?:[\w$]{1,64}\.)?|(?:Column|Field|column) ')([\w$]{1,64})'")
_MOST = 4096  # characters of a message that are looked at


def columns(exc: BaseException) -> tuple[str, ...]:
    """The columns named by *exc*, an exception of a PostgreSQL driver; empty when it names none."""
    told = getattr(exc, "diag", None) or exc
    column = getattr(told, "column_name", None)
    if isinstance(column, str) and column:
        return (column,)
    detail = getattr(exc, "detail", None) or getattr(told, "message_detail", None)
    if isinstance(detail, str) and (found := in_detail(detail)):
        return found
    return _in_name(getattr(told, "constraint_name", None), getattr(told, "table_name", None))


def in_detail(detail: str) -> tuple[str, ...]:
    """The columns in a DETAIL such as ``Key (tenant, lower(email))=(1, x) already exists.``

    The word before the first bracket is translated by the server, so it is not looked at.
    """
    found = _KEY.search(detail[:_MOST])
    return tuple(_bare(one) for one in found[1].split(", ")) if found else ()


def in_sqlite(message: str) -> tuple[str, ...]:
    """The columns in SQLite's ``UNIQUE constraint failed: items.name, items.shop``.

    Of an index over an expression it tells the name alone, and so do we.
    """
    index = _SQLITE_INDEX.search(message[:_MOST])
    if index:
        return (index[1],)
    found = _SQLITE.search(message[:_MOST])
    if not found:
        return ()
    return tuple(one.strip().rpartition(".")[2] for one in found[1].split(","))


def in_mysql(message: str) -> tuple[str, ...]:
    """The column, or the index that is named like one, in MySQL's message; the value before it may lie."""
    found = _MYSQL.findall(message[-_MOST:])
    return (found[-1],) if found and found[-1] != "PRIMARY" else ()


def _bare(column: str) -> str:
    """The column itself of an indexed expression such as ``lower(email::text)``."""
    call = _CALL.fullmatch(column)
    return call[1] if call else column.strip('"')


def _in_name(name: object, table: object) -> tuple[str, ...]:
    """The column in a name that PostgreSQL itself gave to a check: ``orders_quantity_check``."""
    if not isinstance(name, str) or not isinstance(table, str):
        return ()
    start, end = f"{table}_", "_check"
    inner = name[len(start) : -len(end)]
    return (inner,) if name.startswith(start) and name.endswith(end) and inner else ()
