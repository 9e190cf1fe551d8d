"""What an exception means: `classify` looks it up, and looks into it, and never raises.

The tables are keyed by the qualified names of classes, so no library is imported to be recognised.
What no table knows stays unknown, and what is unknown is never run again.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from holdfast.faults import (
    asyncpg,
    mongo,
    mysql,
    own,
    psycopg,
    redis,
    sqlalchemy,
    sqlite,
    sqlstate,
    system,
    web,
)
from holdfast.faults.category import Fault, Outcome, Severity
from holdfast.faults.table import Entry, Table, Wrapper
from holdfast.faults.verdicts import CANCELLED, UNKNOWN

_TABLE: Table = {
    **system.TABLE,
    **web.TABLE,
    **sqlite.TABLE,
    **psycopg.TABLE,
    **asyncpg.TABLE,
    **mysql.TABLE,
    **mongo.TABLE,
    **redis.TABLE,
    **sqlalchemy.TABLE,
    **own.TABLE,
}
_DEEPEST = 16  # wrappers and causes followed; a chain that is longer is a loop
_MOST = 64  # members of an exception group that are looked at
_SEVERITIES = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 2, Severity.CRITICAL: 3}


def classify(exc: BaseException, *, database: bool = False) -> Fault:
    """The verdict on *exc*; unknown things are `unknown`, 500 and not transient.

    With *database* the caller vouches that *exc* came out of a call to a database, so a bare OSError
    or TimeoutError is a lost connection to it.
    """
    try:
        return _verdict(exc, database, _DEEPEST) or UNKNOWN
    except Exception:  # noqa: BLE001 - an exception whose own attributes raise is one that we know nothing of
        return UNKNOWN


def _verdict(exc: BaseException, database: bool, depth: int) -> Fault | None:
    """The verdict on *exc* or on what it carries; None when no table knows any of it."""
    if depth <= 0:
        return None
    cls: Any = type(exc)  # as a key of the cache: type checkers confuse its hash with its instances
    for entry in _entries(cls):
        if isinstance(entry, Wrapper):
            return _unwrapped(exc, entry, depth)
        fault = entry if isinstance(entry, Fault) else entry(exc, database)
        if fault is not None:
            return fault
    if isinstance(exc, BaseExceptionGroup):
        return _worst(exc, database, depth)
    fault = sqlstate.read(exc)
    if fault is None and exc.__cause__ is not None:
        fault = _verdict(exc.__cause__, database, depth - 1)
    return fault


@lru_cache(maxsize=2048)
def _entries(cls: type[Any]) -> tuple[Entry, ...]:
    """What the tables say of *cls* and its bases, the nearest first."""
    names = (f"{one.__module__}.{one.__qualname__}" for one in cls.__mro__)
    return tuple(_TABLE[name] for name in names if name in _TABLE)


def _unwrapped(exc: BaseException, wrapper: Wrapper, depth: int) -> Fault:
    carried = sqlalchemy.inner(exc)
    fault = None if carried is None else _verdict(carried, True, depth - 1)
    return sqlalchemy.outer(exc, fault or sqlstate.read(exc) or wrapper.otherwise)


def _worst(group: BaseExceptionGroup[BaseException], database: bool, depth: int) -> Fault | None:
    """The worst verdict on the members of *group*, as careful as its most careful member."""
    members = group.exceptions[:_MOST]
    faults = [_verdict(one, database, depth - 1) or UNKNOWN for one in members]
    faults = [one for one in faults if one is not CANCELLED] or faults[:1]
    worst = max(faults, key=_gravity)
    unsure = any(one.outcome is Outcome.UNKNOWN for one in faults)
    return replace(
        worst,
        transient=all(one.transient for one in faults),
        outcome=Outcome.UNKNOWN if unsure else Outcome.NOT_APPLIED,
        lost=any(one.lost for one in faults),
    )


def _gravity(fault: Fault) -> tuple[bool, int, int]:
    return not fault.transient, _SEVERITIES[fault.severity], fault.status
