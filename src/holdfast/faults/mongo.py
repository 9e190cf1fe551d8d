"""What MongoDB's codes and error labels mean; pymongo is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from holdfast.faults.category import Fault
from holdfast.faults.table import Table
from holdfast.faults.verdicts import (
    CANCELLED_QUERY,
    DUPLICATE,
    EXHAUSTED,
    FORBIDDEN,
    FULL,
    INVALID,
    LOST,
    MISCONFIGURED,
    QUERY,
    RACE,
    REFUSED,
    TIMED_OUT,
    UNAUTHENTICATED,
)

CODES: dict[int, Fault] = {
    **dict.fromkeys((10058, 10107, 13435, 13436), REFUSED),  # not the primary, or not yet
    **dict.fromkeys((91, 189, 11600, 11602), LOST),  # interrupted: it stepped down or shuts down
    **dict.fromkeys((6, 7, 89, 9001), LOST),  # the network between its servers
    **dict.fromkeys((11000, 11001, 12582), DUPLICATE),
    **dict.fromkeys((112, 251), RACE),  # write conflict, transaction that another ended
    **dict.fromkeys((50, 262), CANCELLED_QUERY),  # time limit
    121: INVALID,  # document failed validation
    13: FORBIDDEN,
    18: UNAUTHENTICATED,
    64: TIMED_OUT,  # written, but not yet on as many servers as asked for
    14031: FULL,
}


def _answered(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - pymongo is a database's
    """The verdict on what the server answered: by its code, and by the labels it put on it."""
    code = getattr(exc, "code", None)
    fault = CODES.get(code, QUERY) if isinstance(code, int) else QUERY
    if _labelled(exc, "UnknownTransactionCommitResult"):
        fault = replace(LOST, lost=fault.lost)
    elif _labelled(exc, "TransientTransactionError") and not fault.transient:
        fault = RACE
    return replace(fault, code=None if code is None else str(code), fields=_fields(exc))


def _broken(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - pymongo is a database's
    code = getattr(exc, "code", None) or _told(exc).get("code")
    return replace(CODES.get(code, LOST), code=str(code)) if isinstance(code, int) else LOST


def _labelled(exc: BaseException, label: str) -> bool:
    has = getattr(exc, "has_error_label", None)
    return bool(has(label)) if callable(has) else False


def _told(exc: BaseException) -> Mapping[str, object]:
    details = getattr(exc, "details", None)
    return details if isinstance(details, Mapping) else {}


def _fields(exc: BaseException) -> tuple[str, ...]:
    """The fields of the index that a duplicate violates; their values stand beside and are left."""
    pattern = _told(exc).get("keyPattern")
    return tuple(str(name) for name in pattern) if isinstance(pattern, Mapping) else ()


_ERRORS = "pymongo.errors."

TABLE: Table = {
    _ERRORS + "PyMongoError": QUERY,
    _ERRORS + "OperationFailure": _answered,
    _ERRORS + "ConnectionFailure": LOST,
    _ERRORS + "AutoReconnect": _broken,
    _ERRORS + "ServerSelectionTimeoutError": REFUSED,
    _ERRORS + "WaitQueueTimeoutError": EXHAUSTED,
    _ERRORS + "WTimeoutError": TIMED_OUT,
    _ERRORS + "ConfigurationError": MISCONFIGURED,
    _ERRORS + "DocumentTooLarge": INVALID,
    "bson.errors.InvalidDocument": INVALID,
}
