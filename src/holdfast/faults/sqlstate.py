"""What a SQLSTATE means: the code where it differs from its class, else the class.

The classes are those of PostgreSQL's appendix A; a class that is not listed is a refused statement.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from holdfast.faults import constraint
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.verdicts import (
    BROKEN,
    CANCELLED_QUERY,
    CROWDED,
    DUPLICATE,
    EXHAUSTED,
    FORBIDDEN,
    FULL,
    INVALID,
    LOST,
    MISCONFIGURED,
    OUTDATED,
    QUERY,
    RACE,
    READ_ONLY,
    REFUSED,
    UNAUTHENTICATED,
)

CLASSES: dict[str, Fault] = {
    "08": LOST,  # connection exception
    "22": INVALID,  # data exception
    "23": DUPLICATE,  # integrity constraint violation
    "25": QUERY,  # invalid transaction state
    "28": UNAUTHENTICATED,  # invalid authorization specification
    "3D": MISCONFIGURED,  # invalid catalog name: no such database
    "40": RACE,  # transaction rollback
    "42": QUERY,  # syntax error or access rule violation
    "44": INVALID,  # WITH CHECK OPTION violation
    "53": EXHAUSTED,  # insufficient resources
    "55": QUERY,  # object not in prerequisite state
    "57": QUERY,  # operator intervention
    "58": BROKEN,  # system error, external to PostgreSQL itself
    "XX": BROKEN,  # internal error
}

CODES: dict[str, Fault] = {
    "08001": REFUSED,  # the client could not establish a connection
    "08004": REFUSED,  # the server rejected the connection
    "22012": QUERY,  # division by zero: arithmetic of the query, not of its data
    "23502": INVALID,  # not null
    "23514": INVALID,  # check
    READ_ONLY: replace(REFUSED, lost=False),  # read-only: a demoted primary answers, and takes no writes
    "25P03": REFUSED,  # idle in transaction for too long: rolled back, and the connection ended
    "25P04": replace(
        CANCELLED_QUERY, lost=True
    ),  # transaction timeout: the same again would be too long again
    "40002": DUPLICATE,  # an integrity constraint, seen at the end of the transaction
    "40003": replace(RACE, transient=False, outcome=Outcome.UNKNOWN),  # statement completion unknown
    "42501": FORBIDDEN,  # insufficient privilege
    "53100": FULL,  # disk full
    "53300": CROWDED,  # too many connections
    "55P03": RACE,  # lock not available
    "57014": CANCELLED_QUERY,  # statement timeout, or cancelled on request
    "57P01": LOST,  # the administrator ended the connection
    "57P02": LOST,  # another server process crashed
    "57P03": REFUSED,  # starting up or shutting down: cannot connect now
    "57P04": LOST,  # the database was dropped
    "57P05": LOST,  # idle session timeout
    "HV00N": replace(CROWDED, category=Category.DATABASE_CONNECTION),  # a foreign server cannot be reached
}

# After FATAL or PANIC in one of these classes the session that sent the statement has ended.
_ENDED = frozenset({"08", "25", "40", "57", "58", "XX"})
_PLAN_CHANGED = "cached plan must not change result type"
_CODE = re.compile(r"[0-9A-Z]{5}", re.ASCII)


@lru_cache(maxsize=1024)
def verdict(code: str, severity: str | None = None) -> Fault:
    """What SQLSTATE *code* means, told with *severity* (ERROR, FATAL, PANIC or unknown)."""
    fault = CODES.get(code) or CLASSES.get(code[:2], QUERY)
    if code == "08P01" and severity == "ERROR":
        fault = QUERY  # a malformed request, answered on a connection that lives
    elif code == "55000" and severity == "FATAL":
        fault = REFUSED  # at login: the database lets nobody in for a while (ALLOW_CONNECTIONS false)
    elif severity in ("FATAL", "PANIC") and code[:2] in _ENDED and not fault.lost:
        fault = LOST
    return replace(fault, code=code)


def read(exc: BaseException, database: bool = True) -> Fault | None:  # noqa: ARG001 - a server has answered
    """The verdict on an exception that carries a SQLSTATE; None without one."""
    code = getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None)
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return None
    if code == "0A000" and _PLAN_CHANGED in str(exc):
        return replace(OUTDATED, code=code)
    fault = verdict(code, _severity(exc))
    if code[:2] == "23":
        return replace(fault, fields=constraint.columns(exc))
    return fault


def _severity(exc: BaseException) -> str | None:
    """The severity as the server told it, never translated; None when the library keeps it to itself."""
    told = getattr(exc, "severity_en", None)
    if told is None:
        told = getattr(getattr(exc, "diag", None), "severity_nonlocalized", None)
    return told if isinstance(told, str) else None
