"""The verdicts that several libraries share, each with a name.

Three questions give a verdict: may the same operation succeed when run again, is the connection
gone, and can the operation have taken effect. Whoever answers the last one wrongly doubles orders,
so `NOT_APPLIED` is said only when nothing was sent, or when the server itself said that it refused.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.faults.category import Category, Fault, Outcome, Severity

UNKNOWN = Fault(Category.UNKNOWN, 500, False, Outcome.UNKNOWN)
CANCELLED = Fault(Category.UNKNOWN, 500, False, Outcome.UNKNOWN, Severity.INFO)

# The connection broke while it was in use: what was sent may have arrived.
LOST = Fault(Category.DATABASE_CONNECTION, 503, True, Outcome.UNKNOWN, lost=True)
# Nothing was sent: nobody listened, the name was not found, the connection was closed before.
REFUSED = replace(LOST, outcome=Outcome.NOT_APPLIED)
# A connection that will not come by waiting: the pool was closed by its owner.
CLOSED = Fault(Category.DATABASE_CONNECTION, 503, False, Outcome.NOT_APPLIED)
# A wrong name or a wrong setting: somebody has to mend it.
MISCONFIGURED = replace(CLOSED, severity=Severity.CRITICAL)
# The database does not accept our name or password. Ours, so never a 401 for the client.
UNAUTHENTICATED = Fault(Category.AUTHENTICATION, 503, False, Outcome.NOT_APPLIED, Severity.CRITICAL)
FORBIDDEN = Fault(Category.AUTHORIZATION, 500, False, Outcome.NOT_APPLIED)

# The server answered: this statement was refused, and will be again.
QUERY = Fault(Category.DATABASE_QUERY, 500, False, Outcome.NOT_APPLIED)
BROKEN = replace(QUERY, severity=Severity.CRITICAL)
# Refused because of a plan or a schema that both sides now know better.
OUTDATED = Fault(Category.DATABASE_QUERY, 503, True, Outcome.NOT_APPLIED, Severity.WARNING)
INVALID = Fault(Category.VALIDATION, 422, False, Outcome.NOT_APPLIED, Severity.WARNING)
DUPLICATE = Fault(Category.CONFLICT, 409, False, Outcome.NOT_APPLIED, Severity.WARNING)
# Another transaction was first; run again, this one may be.
RACE = Fault(Category.CONFLICT, 503, True, Outcome.NOT_APPLIED, Severity.WARNING)

# Whoever logs in and meets one of these, and none that passes by itself, was turned away by name.
_TURNED_AWAY = frozenset({Category.AUTHENTICATION, Category.AUTHORIZATION, Category.DATABASE_CONNECTION})

CROWDED = Fault(Category.OVERLOAD, 503, True, Outcome.NOT_APPLIED)
EXHAUSTED = replace(CROWDED, transient=False)
FULL = replace(EXHAUSTED, severity=Severity.CRITICAL)

# The server gave the statement up, or we did.
CANCELLED_QUERY = Fault(Category.TIMEOUT, 504, False, Outcome.NOT_APPLIED)
TIMED_OUT = replace(CANCELLED_QUERY, outcome=Outcome.UNKNOWN)

READ_ONLY = "25006"  # PostgreSQL: the server takes no writes, or the transaction was begun as read-only


def turns_away(fault: Fault) -> bool:
    """Whether a login that met *fault* was turned away for what somebody has to mend: a password, a role,
    the name of the database. To whom it has let in before, a server may have changed its mind for a while."""
    return not fault.transient and fault.category in _TURNED_AWAY


def shuts_out(fault: Fault) -> bool:
    """Whether a login that met *fault* says nothing of those who are in: it was turned away, or there is
    no room for one more."""
    return turns_away(fault) or fault.category is Category.OVERLOAD
