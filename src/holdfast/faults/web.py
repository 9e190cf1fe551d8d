"""What the exceptions of web frameworks and HTTP clients mean; none of them is imported."""

from __future__ import annotations

from dataclasses import replace

from holdfast.faults.category import Category, Fault, Outcome, Severity
from holdfast.faults.system import as_network
from holdfast.faults.table import Table
from holdfast.faults.verdicts import INVALID, LOST, REFUSED, TIMED_OUT, UNKNOWN

STATUSES: dict[int, Category] = {
    400: Category.VALIDATION,
    401: Category.AUTHENTICATION,
    403: Category.AUTHORIZATION,
    404: Category.NOT_FOUND,
    408: Category.TIMEOUT,
    409: Category.CONFLICT,
    410: Category.NOT_FOUND,
    413: Category.VALIDATION,
    415: Category.VALIDATION,
    422: Category.VALIDATION,
    429: Category.RATE_LIMIT,
    503: Category.OVERLOAD,
    504: Category.TIMEOUT,
}


def _answer(exc: BaseException, database: bool) -> Fault | None:  # noqa: ARG001 - a framework's
    """The answer that the application chose by raising: its status stands."""
    status = getattr(exc, "status_code", None)
    if not isinstance(status, int) or not 400 <= status <= 599:
        return None
    severity = Severity.WARNING if status < 500 else Severity.ERROR
    return Fault(STATUSES.get(status, Category.UNKNOWN), status, False, Outcome.UNKNOWN, severity)


_LOST = replace(as_network(LOST), lost=False)
_REFUSED = replace(as_network(REFUSED), lost=False)
_NOT_SENT = replace(TIMED_OUT, outcome=Outcome.NOT_APPLIED)

TABLE: Table = {
    "starlette.exceptions.HTTPException": _answer,
    "litestar.exceptions.http_exceptions.HTTPException": _answer,
    "aiohttp.web_exceptions.HTTPException": _answer,
    "fastapi.exceptions.RequestValidationError": INVALID,
    "fastapi.exceptions.WebSocketRequestValidationError": INVALID,
    # The application broke its own promise: a defect, not the client's.
    "fastapi.exceptions.ResponseValidationError": UNKNOWN,
    "pydantic_core._pydantic_core.ValidationError": INVALID,
    "pydantic.error_wrappers.ValidationError": INVALID,
    "httpx.TransportError": _LOST,
    "httpx.ConnectError": _REFUSED,
    "httpx.TimeoutException": TIMED_OUT,
    "httpx.ConnectTimeout": _NOT_SENT,
    "httpx.PoolTimeout": _NOT_SENT,
    "aiohttp.client_exceptions.ClientConnectionError": _LOST,
    "aiohttp.client_exceptions.ClientConnectorError": _REFUSED,
    "aiohttp.client_exceptions.ServerTimeoutError": TIMED_OUT,
    "requests.exceptions.ConnectionError": _LOST,
    "requests.exceptions.Timeout": TIMED_OUT,
    "requests.exceptions.ConnectTimeout": _NOT_SENT,
    "urllib3.exceptions.ProtocolError": _LOST,
    "urllib3.exceptions.NewConnectionError": _REFUSED,
    "urllib3.exceptions.TimeoutError": TIMED_OUT,
}
