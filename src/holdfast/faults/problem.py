"""The one format of every error: RFC 9457's problem details, made from a verdict.

In production a problem says what the table of codes says, and names columns; nothing of an
exception's text, of the program or of the place where it happened reaches it. Elsewhere its `debug`
tells all of that, redacted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from traceback import walk_tb
from typing import Any, Literal

from holdfast.faults.category import Category, Fault
from holdfast.faults.codes import CODES
from holdfast.faults.redact import redact_text

Style = Literal["problem", "simple"]
MEDIA_TYPES: Mapping[str, str] = {"problem": "application/problem+json", "simple": "application/json"}
TYPE = "urn:holdfast:problem:"  # followed by the code
_MOST_PLACES = 12
_MOST_CAUSES = 5

_DUPLICATES = frozenset(
    {
        "23505",
        "SQLITE_CONSTRAINT_UNIQUE",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "SQLITE_CONSTRAINT_ROWID",
        "1062",
        "1586",
        "11000",
    }
)
_MISSING = frozenset({"23502", "SQLITE_CONSTRAINT_NOTNULL", "1048", "1364"})
_BY_CATEGORY: Mapping[Category, str] = {
    Category.DATABASE_CONNECTION: "database_unavailable",
    Category.CONFLICT: "conflict",
    Category.NETWORK: "upstream_unavailable",
    Category.TIMEOUT: "deadline_exceeded",
    Category.RATE_LIMIT: "rate_limited",
    Category.OVERLOAD: "overloaded",
    Category.NOT_FOUND: "not_found",
    Category.VALIDATION: "validation_failed",
}
_OF_CLIENT = {Category.AUTHENTICATION: "unauthenticated", Category.AUTHORIZATION: "forbidden"}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: where it is, in words, and the kind of error."""

    path: str
    message: str
    type: str = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error as its receiver is told it. `retry_after` is in seconds; `debug` is for developers."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    category: Category
    instance: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    details: tuple[FieldError, ...] = ()
    debug: str | None = None

    @property
    def retry_seconds(self) -> int | None:
        """`retry_after` as the Retry-After header wants it: whole seconds, at least one."""
        return None if self.retry_after is None else max(1, math.ceil(self.retry_after))


def problem(
    code: str,
    *,
    request_id: str | None = None,
    instance: str | None = None,
    retry_after: float | None = None,
    details: Sequence[FieldError] = (),
    debug: str | None = None,
) -> Problem:
    """The problem that *code* names; raises KeyError when it is none of `CODES`."""
    text = CODES[code]
    return Problem(
        type=TYPE + code,
        title=text.title,
        status=text.status,
        detail=text.detail,
        code=code,
        category=text.category,
        instance=instance,
        request_id=request_id,
        retry_after=retry_after,
        details=tuple(details),
        debug=debug,
    )


def from_fault(
    fault: Fault,
    *,
    request_id: str | None,
    instance: str | None,
    production: bool,
    exc: BaseException | None = None,
    retry_after: float | None = None,
    details: Sequence[FieldError] = (),
) -> Problem:
    """The problem that tells *fault*; outside *production* with the text of *exc*, redacted.

    *retry_after* is told only where trying again can help. *details* are the caller's field errors;
    without them those that the fault names are told.
    """
    code = code_of(fault)
    told = problem(
        code,
        request_id=request_id,
        instance=instance,
        retry_after=retry_after if fault.transient or fault.status in (429, 503) else None,
        details=details or tuple(_field_error(fault, name) for name in fault.fields),
    )
    return replace(
        told,
        status=fault.status,
        category=fault.category if fault.status < 500 or fault.category not in _OF_CLIENT else told.category,
        detail=_same(fault.fields) if code == "duplicate_key" and fault.fields else told.detail,
        debug=None if production or exc is None else debug_of(exc),
    )


def code_of(fault: Fault) -> str:
    """The stable code under which *fault* is told to a client."""
    if fault.category is Category.CONFLICT and fault.status == 503:
        return "write_conflict"
    if fault.category is Category.CONFLICT and fault.code in _DUPLICATES:
        return "duplicate_key"
    if fault.category in _OF_CLIENT and fault.status < 500:
        return _OF_CLIENT[fault.category]
    if fault.category is Category.AUTHENTICATION:
        return "database_unavailable"  # our own password is wrong: none of the client's business
    code = _BY_CATEGORY.get(fault.category)
    return code or ("bad_request" if fault.status < 500 else "internal_error")


def render(problem: Problem, style: Style = "problem") -> dict[str, Any]:
    """*problem* as the JSON object of an answer; what is not known is left out."""
    if style == "simple":
        body = {"error": problem.code, "message": problem.detail, "status": problem.status}
    else:
        body = {
            "type": problem.type,
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            "instance": problem.instance,
            "code": problem.code,
            "category": problem.category.value,
        }
    body |= {
        "requestId": problem.request_id,
        "retryAfter": problem.retry_seconds,
        "details": [{"path": one.path, "message": one.message, "type": one.type} for one in problem.details]
        or None,
        "debug": problem.debug,
    }
    return {key: value for key, value in body.items() if value is not None}


def _field_error(fault: Fault, name: str) -> FieldError:
    if fault.code in _DUPLICATES:
        return FieldError(name, "This value exists already.", "duplicate")
    if fault.code in _MISSING:
        return FieldError(name, "This value is missing.", "missing")
    if fault.category is Category.CONFLICT:
        return FieldError(name, "This value does not fit the data it refers to.", "reference")
    return FieldError(name, "This value is not valid.")


def _same(fields: Sequence[str]) -> str:
    names = " and ".join([", ".join(fields[:-1]), fields[-1]] if fields[1:] else fields)
    return f"An entry with the same {names} exists already."


def debug_of(exc: BaseException) -> str:
    """What a developer wants to read: the error, the places it came through, what caused it."""
    lines: list[str] = []
    for link in _chain(exc):
        lines.append(f"caused by {_text(link)}" if lines else _text(link))
        passed = list(walk_tb(link.__traceback__))[-_MOST_PLACES:]
        lines += [
            f"  at {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}" for frame, line in passed
        ]
    return "\n".join(lines)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = exc
    for _ in range(_MOST_CAUSES):  # a chain may be a ring
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _text(exc: BaseException) -> str:
    """An exception may refuse to be read."""
    name = type(exc).__qualname__
    try:
        return redact_text(f"{name}: {exc}")
    except Exception:  # noqa: BLE001 - its text is a comfort, the answer is not
        return name
