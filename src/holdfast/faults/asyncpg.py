"""What asyncpg's exceptions mean; it is not imported."""

from __future__ import annotations

from holdfast.faults import sqlstate
from holdfast.faults.category import Fault
from holdfast.faults.table import Table
from holdfast.faults.verdicts import CLOSED, INVALID, OUTDATED, QUERY, REFUSED

_BASE = "asyncpg.exceptions._base."


def _misuse(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - asyncpg is a database's
    """asyncpg says with one class that a connection is closed and that a call was wrong.

    It looks at the connection before it sends, so the statement was not applied.
    """
    told = str(exc)
    if "connection is closed" in told:
        return REFUSED
    if "pool is clos" in told:  # "closed" as well as "closing"
        return CLOSED
    return QUERY


def _confusion(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - asyncpg is a database's
    """A server that stops says so, and closes the connection a moment later: in between asyncpg still
    waits for it to be ready, and refuses the next statement before it sends it."""
    return REFUSED if "cannot switch to state" in str(exc) else QUERY


TABLE: Table = {
    _BASE + "PostgresError": sqlstate.read,
    _BASE + "InterfaceError": _misuse,
    _BASE + "DataError": INVALID,
    _BASE + "InternalClientError": _confusion,
    _BASE + "TargetServerAttributeNotMatched": REFUSED,  # no primary among the hosts: a failover goes on
    _BASE + "OutdatedSchemaCacheError": OUTDATED,
    "asyncpg.exceptions.InvalidCachedStatementError": OUTDATED,
}
