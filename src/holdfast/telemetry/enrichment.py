"""What is told about an error besides the error: the request, its timing, its recovery, the operation."""

from __future__ import annotations

import re
from typing import Any, Final

from holdfast.context import Request
from holdfast.faults.redact import redact_text

_LITERAL: Final = re.compile(r"'(?:[^']|'')*'|\$\w*\$.*?\$\w*\$|\b\d+(?:\.\d+)?\b", re.DOTALL)
_TABLE: Final = re.compile(r"\b(?:FROM|INTO|UPDATE|TABLE|JOIN)\s+([\w.\"`\[\]]+)", re.IGNORECASE)
LONGEST_STATEMENT: Final = 2_000  # characters


def about(request: Request, now: float) -> dict[str, Any]:
    """The request under way, for an error told at monotonic *now*; times in milliseconds.

    The device type is not read here (that is the log writer's work) but from `user_agent`.
    """
    ledger = request.ledger
    told: dict[str, Any] = {
        "request_id": request.id,
        "method": request.method,
        "path": request.path,
        "elapsed_ms": round((now - request.arrived_at) * 1000, 1),
        "held_ms": round(request.held_for * 1000, 1),
        "recovery": recovery(request),
    }
    if request.user_id is not None:
        told["user_id"] = request.user_id
    if request.client is not None:
        told["client"] = request.client
    if (agent := user_agent(request)) is not None:
        told["user_agent"] = agent
    if ledger.databases:
        told["databases"] = sorted(ledger.databases)
    if ledger.fault is not None:
        told["fault"] = {"category": str(ledger.fault.category), "code": ledger.fault.code}
    return told


def recovery(request: Request) -> dict[str, Any]:
    """Whether holdfast tried to save the request, how often, and whether that worked."""
    attempted = request.attempt > 1 or request.held_for > 0
    return {
        "attempted": attempted,
        "successful": attempted and request.ledger.fault is None,
        "attempts": request.attempt,
    }


def user_agent(request: Request) -> str | None:
    """The User-Agent header, when there is one."""
    for name, value in dict(request.headers).items():
        if name.lower() == b"user-agent":
            return str(value.decode("latin-1"))
    return None


def operation(error: BaseException) -> dict[str, str] | None:
    """The database operation *error* tells of: its kind, table and statement without any value.

    Read from the `statement` that SQLAlchemy's errors carry; None when there is none.
    """
    statement = getattr(error, "statement", None)
    if not isinstance(statement, str) or not statement.strip():
        return None
    told = {"operation": statement.split(None, 1)[0].upper()}
    if (table := _TABLE.search(statement)) is not None:
        told["table"] = table[1].strip('"`[]')
    told["statement"] = redact_text(_LITERAL.sub("?", statement[:LONGEST_STATEMENT]))
    return told
