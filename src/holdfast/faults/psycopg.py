"""What the exceptions of psycopg 3, its pool and psycopg2 mean; they are not imported.

libpq tells no SQLSTATE for a connection that fails or breaks, only text, and that perhaps translated.
So an OperationalError without SQLSTATE counts as a lost connection unless its text says otherwise.
"""

from __future__ import annotations

import re

from holdfast.faults import sqlstate
from holdfast.faults.category import Fault
from holdfast.faults.table import Table
from holdfast.faults.verdicts import CANCELLED_QUERY, CLOSED, EXHAUSTED, LOST, QUERY, REFUSED

# In this order: of several hosts, one that answered says more than one that did not.
_ANSWERS = (
    ("57P03", re.compile(r"the database system is|not yet accepting connections")),
    ("53300", re.compile(r"too many clients|too many connections|remaining connection slots")),
    ("28P01", re.compile(r"password authentication failed|no password supplied")),
    ("28000", re.compile(r"authentication failed|pg_hba\.conf|not permitted to log in"
                         r"|role \"[^\n]{0,200}\" does not exist")),
    ("3D000", re.compile(r"database \"[^\n]{0,200}\" does not exist")),
)  # fmt: skip
# Exactly these are said before anything is sent; the same words inside a longer message are not.
_UNSENT = ("the connection is closed", "connection already closed", "connection timeout expired")
_CONNECTING = re.compile(
    r"connection failed|connection is bad|connection to server (?:at|on)|could not connect to server"
    r"|could not translate host name|failed to resolve|no host found"
)
# A pooler passes on the server's farewell and adds its own: psycopg refuses two results for one command,
# and tells the SQLSTATE of neither.
_FAREWELLS = re.compile(r"received \d+ results from command ")
_MISUSE = re.compile(r"another command is already in progress|number of parameters must be|cannot match ")
_MOST = 8192  # characters of a message that are looked at


def _operational(exc: BaseException, database: bool) -> Fault | None:  # noqa: ARG001 - libpq is a database's
    """The verdict on an OperationalError, by its SQLSTATE or, without one, by its text."""
    answered = sqlstate.read(exc)
    return answered or _by_text(str(exc)[:_MOST])


def _by_text(told: str) -> Fault:
    if _CONNECTING.search(told):
        for code, pattern in _ANSWERS:
            if pattern.search(told):
                return sqlstate.verdict(code, "FATAL")
        return REFUSED
    if _MISUSE.search(told):
        return QUERY
    return REFUSED if told.startswith(_UNSENT) else LOST


def _interface(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - libpq is a database's
    told = str(exc)[:_MOST]
    return REFUSED if "connection" in told and "closed" in told else QUERY


def _internal(exc: BaseException, database: bool) -> Fault | None:  # noqa: ARG001 - libpq is a database's
    answered = sqlstate.read(exc)
    return answered or (LOST if _FAREWELLS.match(str(exc)[:_MOST]) else None)


TABLE: Table = {
    "psycopg.Error": sqlstate.read,
    "psycopg.InternalError": _internal,
    "psycopg.OperationalError": _operational,
    "psycopg.InterfaceError": _interface,
    "psycopg.errors.ConnectionTimeout": REFUSED,
    "psycopg.errors.CancellationTimeout": CANCELLED_QUERY,
    "psycopg.errors.PipelineAborted": QUERY,
    "psycopg_pool.PoolTimeout": EXHAUSTED,
    "psycopg_pool.TooManyRequests": EXHAUSTED,
    "psycopg_pool.PoolClosed": CLOSED,
    "psycopg2.Error": sqlstate.read,
    "psycopg2.OperationalError": _operational,
    "psycopg2.InterfaceError": _interface,
}
