"""What SQLite's result codes mean; sqlite3 is not imported.

The extended code is looked up first, then the primary one in its lowest eight bits.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.faults import constraint
from holdfast.faults.category import Fault
from holdfast.faults.table import Table
from holdfast.faults.verdicts import (
    BROKEN,
    CANCELLED_QUERY,
    CLOSED,
    DUPLICATE,
    EXHAUSTED,
    FORBIDDEN,
    FULL,
    INVALID,
    MISCONFIGURED,
    OUTDATED,
    QUERY,
    RACE,
)

EXTENDED: dict[int, Fault] = {
    275: INVALID,  # SQLITE_CONSTRAINT_CHECK
    1299: INVALID,  # SQLITE_CONSTRAINT_NOTNULL
    1811: INVALID,  # SQLITE_CONSTRAINT_TRIGGER
    3091: INVALID,  # SQLITE_CONSTRAINT_DATATYPE
}

PRIMARY: dict[int, Fault] = {
    3: FORBIDDEN,  # SQLITE_PERM
    4: RACE,  # SQLITE_ABORT
    5: RACE,  # SQLITE_BUSY: another connection holds the lock
    6: RACE,  # SQLITE_LOCKED: another statement of this connection or cache does
    7: EXHAUSTED,  # SQLITE_NOMEM
    8: QUERY,  # SQLITE_READONLY
    9: CANCELLED_QUERY,  # SQLITE_INTERRUPT
    10: BROKEN,  # SQLITE_IOERR
    11: BROKEN,  # SQLITE_CORRUPT
    13: FULL,  # SQLITE_FULL
    14: MISCONFIGURED,  # SQLITE_CANTOPEN
    15: RACE,  # SQLITE_PROTOCOL: the locking protocol of the write-ahead log gave up
    17: OUTDATED,  # SQLITE_SCHEMA
    18: INVALID,  # SQLITE_TOOBIG
    19: DUPLICATE,  # SQLITE_CONSTRAINT
    20: INVALID,  # SQLITE_MISMATCH
    22: FULL,  # SQLITE_NOLFS
    23: FORBIDDEN,  # SQLITE_AUTH
    26: BROKEN,  # SQLITE_NOTADB
}


def read(exc: BaseException, database: bool = True) -> Fault | None:  # noqa: ARG001 - a file is a database
    """The verdict on an exception of sqlite3, by its code, else by its text."""
    number = getattr(exc, "sqlite_errorcode", None)
    if not isinstance(number, int):
        return CLOSED if "closed database" in str(exc) else QUERY
    fault = EXTENDED.get(number) or PRIMARY.get(number & 0xFF, QUERY)
    name = getattr(exc, "sqlite_errorname", None)
    code = name if isinstance(name, str) else None
    return replace(fault, code=code, fields=constraint.in_sqlite(str(exc)))


TABLE: Table = {"sqlite3.Error": read}
