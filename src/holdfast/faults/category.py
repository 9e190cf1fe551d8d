"""What an exception can mean: the words of every verdict."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """The kinds of fault that users, dashboards and alerts tell apart."""

    DATABASE_CONNECTION = "database_connection"
    DATABASE_QUERY = "database_query"
    VALIDATION = "validation"
    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    CONFLICT = "conflict"
    NETWORK = "network"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    OVERLOAD = "overload"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How loudly a fault is told."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Outcome(StrEnum):
    """What is known of the effect of the operation that raised."""

    NOT_APPLIED = "not_applied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Fault:
    """The verdict on one exception.

    `transient` says that the same operation may succeed when run again; `lost` says that the
    connection it ran on is gone (so the database may be away); `code` is the library's own code
    (SQLSTATE, errno name) when there is one; `fields` names the columns a constraint is about.
    """

    category: Category
    status: int
    transient: bool
    outcome: Outcome
    severity: Severity = Severity.ERROR
    lost: bool = False
    code: str | None = None
    fields: tuple[str, ...] = ()
