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


TABLE: Table = {
    _BASE + "PostgresError": sqlstate.read,
    _BASE + "InterfaceError": _misuse,
    _BASE + "DataError": INVALID,
    _BASE + "InternalClientError": QUERY,
    _BASE + "TargetServerAttributeNotMatched": REFUSED,  # no primary among the hosts: a failover goes on
    _BASE + "OutdatedSchemaCacheError": OUTDATED,
    "asyncpg.exceptions.InvalidCachedStatementError": OUTDATED,
}
