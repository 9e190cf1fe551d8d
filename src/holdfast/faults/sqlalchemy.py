"""What SQLAlchemy's own exceptions mean; it is not imported.

Most of them wrap the driver's, which knows better: those are the `Wrapper`s, with the verdict for
when the inner one says nothing.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.faults.category import Category, Fault
from holdfast.faults.table import Table, Wrapper
from holdfast.faults.verdicts import DUPLICATE, EXHAUSTED, INVALID, LOST, QUERY, REFUSED

_RECONNECT = "8s2b"  # "Can't reconnect until invalid transaction is rolled back"


def inner(exc: BaseException) -> BaseException | None:
    """The driver's exception in *exc*: `orig` of 2.1's adapters too, `__cause__` of 2.0's."""
    orig = getattr(exc, "orig", None)
    return orig if isinstance(orig, BaseException) else exc.__cause__


def outer(exc: BaseException, fault: Fault) -> Fault:
    """*fault* of the driver, seen with what SQLAlchemy knows: whether it gave the connection up."""
    if fault.lost or getattr(exc, "connection_invalidated", False) is not True:
        return fault
    if fault.code is None or fault.category is Category.UNKNOWN:
        return replace(LOST, code=fault.code)
    return replace(fault, lost=True)


def _left_behind(exc: BaseException, database: bool) -> Fault:  # noqa: ARG001 - always a database's
    """A session used on after a failure: lost when it was the connection that had failed."""
    return REFUSED if getattr(exc, "code", None) == _RECONNECT else QUERY


_ADAPTER = "sqlalchemy.dialects.postgresql.asyncpg.AsyncAdapt_asyncpg_dbapi."
_EXC = "sqlalchemy.exc."

TABLE: Table = {
    _EXC + "SQLAlchemyError": Wrapper(QUERY),
    _EXC + "IntegrityError": Wrapper(DUPLICATE),
    _EXC + "DataError": Wrapper(INVALID),
    _EXC + "EmulatedDBAPIException": Wrapper(QUERY),
    _ADAPTER + "Error": Wrapper(QUERY),
    _ADAPTER + "IntegrityError": Wrapper(DUPLICATE),
    _EXC + "TimeoutError": EXHAUSTED,  # the pool gave no connection in time
    _EXC + "DisconnectionError": LOST,
    _EXC + "PendingRollbackError": _left_behind,
    _EXC + "NoResultFound": Fault(Category.NOT_FOUND, 404, False, QUERY.outcome, INVALID.severity),
    "sqlalchemy.orm.exc.StaleDataError": DUPLICATE,  # another one changed the row since it was read
}
