"""What redis-py's exceptions mean; it is not imported."""

from __future__ import annotations

from holdfast.faults.category import Fault
from holdfast.faults.table import Table
from holdfast.faults.verdicts import (
    EXHAUSTED,
    FORBIDDEN,
    FULL,
    LOST,
    OUTDATED,
    QUERY,
    RACE,
    REFUSED,
    UNAUTHENTICATED,
)


def _connection(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - redis-py is a database's
    """Lost, unless it says that it never connected."""
    return REFUSED if str(exc).startswith("Error") and "connecting to" in str(exc) else LOST


_ERRORS = "redis.exceptions."

TABLE: Table = {
    _ERRORS + "RedisError": QUERY,
    _ERRORS + "ConnectionError": _connection,
    _ERRORS + "TimeoutError": LOST,
    _ERRORS + "BusyLoadingError": REFUSED,
    _ERRORS + "ReadOnlyError": REFUSED,  # a demoted primary
    _ERRORS + "MasterDownError": REFUSED,
    _ERRORS + "ClusterDownError": REFUSED,
    _ERRORS + "TryAgainError": RACE,
    _ERRORS + "WatchError": RACE,
    _ERRORS + "MovedError": OUTDATED,
    _ERRORS + "AskError": OUTDATED,
    _ERRORS + "MaxConnectionsError": EXHAUSTED,
    _ERRORS + "OutOfMemoryError": FULL,
    _ERRORS + "AuthenticationError": UNAUTHENTICATED,
    _ERRORS + "AuthenticationWrongNumberOfArgsError": UNAUTHENTICATED,
    _ERRORS + "AuthorizationError": FORBIDDEN,
    _ERRORS + "NoPermissionError": FORBIDDEN,
}
