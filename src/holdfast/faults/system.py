"""What the operating system's errors, time-outs and cancellations mean.

A driver may let them through bare, so the caller says whether a database stands behind them.
"""

from __future__ import annotations

import errno
import re
from dataclasses import replace

from holdfast.faults.category import Category, Fault, Outcome, Severity
from holdfast.faults.table import Reader, Table
from holdfast.faults.verdicts import (
    CANCELLED,
    CROWDED,
    EXHAUSTED,
    FULL,
    LOST,
    MISCONFIGURED,
    REFUSED,
    TIMED_OUT,
    UNKNOWN,
)

_LOST = (
    "ECONNRESET", "ECONNABORTED", "EPIPE", "ESHUTDOWN", "ENOTCONN", "ENETRESET", "ETIMEDOUT",
    "EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN",
)  # fmt: skip
_REFUSED = ("ECONNREFUSED", "EADDRNOTAVAIL")
# Of a Unix socket, or of a file that is the database.
_REFUSED_AS_DATABASE = ("ENOENT", "EAGAIN")
_RESOURCES = {"EMFILE": EXHAUSTED, "ENFILE": EXHAUSTED, "ENOMEM": EXHAUSTED, "ENOBUFS": EXHAUSTED,
              "ENOSPC": FULL, "EDQUOT": FULL}  # fmt: skip
_ERRNO = re.compile(r"\[Errno (\d{1,5})\]")


def _numbers() -> dict[int, Fault]:
    faults = {**dict.fromkeys(_LOST, LOST), **dict.fromkeys(_REFUSED, REFUSED), **_RESOURCES}
    named = {name: replace(fault, code=name) for name, fault in faults.items()}
    return {getattr(errno, name): fault for name, fault in named.items() if hasattr(errno, name)}


def as_network(fault: Fault) -> Fault:
    """The same verdict where no database is known to stand behind the connection."""
    if fault.category is Category.DATABASE_CONNECTION:
        return replace(fault, category=Category.NETWORK)
    return fault


_NUMBERS = _numbers()
_NUMBERS_AS_NETWORK = {number: as_network(fault) for number, fault in _NUMBERS.items()}
_NUMBERS_AS_DATABASE = {getattr(errno, name): replace(REFUSED, code=name) for name in _REFUSED_AS_DATABASE}
_LOST_NETWORK = as_network(LOST)
_CERTIFICATE = replace(MISCONFIGURED, code="CERTIFICATE_VERIFY_FAILED")


def read(exc: BaseException, database: bool) -> Fault | None:
    """The verdict on an OSError; None for one that is not about a connection or a resource."""
    number = getattr(exc, "errno", None)
    if not isinstance(number, int):
        return _of_several(str(exc)[:4096], database)
    fault = _known(number, database)
    if fault is None and database:
        fault = _NUMBERS_AS_DATABASE.get(number)
    return fault


def _known(number: object, database: bool) -> Fault | None:
    if not isinstance(number, int):
        return None
    return (_NUMBERS if database else _NUMBERS_AS_NETWORK).get(number)


def _of_several(told: str, database: bool) -> Fault | None:
    """asyncio joins the failures of several addresses into one OSError that has no number."""
    if not told.startswith("Multiple exceptions"):
        return LOST if database else None
    faults = [_known(int(one), database) or UNKNOWN for one in _ERRNO.findall(told)]
    if faults and all(one.outcome is Outcome.NOT_APPLIED for one in faults):
        return faults[0]
    return LOST if database else _LOST_NETWORK


def _connection(fault: Fault) -> Reader:
    """Reads an exception whose class means *fault*, and whose number may say it more exactly."""
    network = as_network(fault)

    def reader(exc: BaseException, database: bool) -> Fault:
        known = _known(getattr(exc, "errno", None), database)
        return known or (fault if database else network)

    return reader


def _whatever_its_number(fault: Fault) -> Reader:
    """Reads an exception whose numbers are no errno: those of TLS and of name resolution."""
    network = as_network(fault)

    def reader(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - the class says it all
        return fault if database else network

    return reader


def _timeout(exc: BaseException, database: bool) -> Fault:
    known = _known(getattr(exc, "errno", None), database)
    return known or (LOST if database else TIMED_OUT)


def _closed_transport(exc: BaseException, database: bool) -> Fault | None:
    """uvloop tells a write to a connection that is gone with a plain RuntimeError."""
    told = str(exc)[:4096]
    if told.startswith("unable to perform operation on") and "closed" in told:
        return LOST if database else _LOST_NETWORK
    return None


_broken = _connection(LOST)

TABLE: Table = {
    "builtins.ConnectionError": _broken,
    "builtins.ConnectionRefusedError": _connection(REFUSED),
    "builtins.TimeoutError": _timeout,
    "builtins.OSError": read,
    "builtins.RuntimeError": _closed_transport,
    "builtins.MemoryError": FULL,
    "builtins.KeyboardInterrupt": CANCELLED,
    "builtins.SystemExit": CANCELLED,
    "builtins.GeneratorExit": CANCELLED,
    "socket.gaierror": _whatever_its_number(REFUSED),
    "socket.herror": _whatever_its_number(REFUSED),
    "ssl.SSLError": _whatever_its_number(LOST),
    "ssl.SSLCertVerificationError": _whatever_its_number(_CERTIFICATE),
    "asyncio.exceptions.IncompleteReadError": _broken,
    "asyncio.exceptions.CancelledError": CANCELLED,
    "asyncio.queues.QueueFull": replace(CROWDED, severity=Severity.WARNING),
    "queue.Full": replace(CROWDED, severity=Severity.WARNING),
    "concurrent.futures._base.CancelledError": CANCELLED,
    "concurrent.futures._base.BrokenExecutor": EXHAUSTED,
}
