"""Our own answers: refusals, and errors that the application let out."""

from __future__ import annotations

import contextlib
import math
import random
from time import monotonic

import orjson

from holdfast.asgi.cors import Cors
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.types import Message
from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.databases.markers import Kept
from holdfast.events import BUS, RequestFailed
from holdfast.faults.classify import classify
from holdfast.faults.codes import CODES
from holdfast.faults.problem import MEDIA_TYPES, Problem, Style, debug_of, from_fault, problem, render
from holdfast.policy.keys import is_final

TOLD = "_holdfast_told"
_STOCK_BODIES = (b"Internal Server Error",)
_LONGEST_RETRY_S = 30
_NOT_BLINDLY = ("commit_outcome_unknown", "applied_but_interrupted")


class Answers:
    """Makes them, with the CORS headers that let a browser's script read them."""

    def __init__(self, cors: Cors, *, style: Style, production: bool) -> None:
        self.cors = cors
        self._style: Style = style
        self._production = production
        self._dice = random.Random()

    async def refuse(self, exchange: Exchange, code: str, database: Database | None = None) -> int:
        """Answer with the problem that *code* names; the status."""
        request = exchange.request
        retry_after = self._retry_after(database)
        if code in _NOT_BLINDLY and request.key is None:
            retry_after = None  # what may be done already is not to be repeated without a key
        if CODES[code].status in (400, 413, 422) or code == "applied_but_interrupted":
            retry_after = None  # it will be no better then
        told = problem(
            code,
            request_id=request.id,
            instance=exchange.scope["path"],
            retry_after=retry_after,
            debug=None if self._production else _why(request, database),
        )
        await self._answer(exchange, told)
        return told.status

    async def again(self, exchange: Exchange, kept: Kept) -> None:
        """Answer with the first answer to the request's key."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept.headers]
        if not is_final(kept.status):  # it is the answer all the same, however often it is asked for
            headers = [(name, value) for name, value in headers if name.lower() != b"retry-after"]
        body = kept.body
        if body is None:
            body = b""
            headers = [(name, value) for name, value in headers if name != b"content-length"]
            headers += [(b"content-length", b"0"), (b"holdfast-body-omitted", str(kept.size).encode())]
        headers += [(b"idempotent-replayed", b"true"), (b"x-request-id", exchange.request.id.encode())]
        start: Message = {"type": "http.response.start", "status": kept.status, "headers": headers}
        await exchange.answer(start, {"type": "http.response.body", "body": body})

    async def fail(self, exchange: Exchange, error: BaseException) -> None:
        """Answer for an application that let *error* out."""
        request = exchange.request
        fault = classify(error)
        told = from_fault(
            fault,
            request_id=request.id,
            instance=exchange.scope["path"],
            production=self._production,
            exc=error,
        )
        await self._answer(exchange, told)

    async def late(self, exchange: Exchange) -> None:
        """Answer for an attempt that does not end though its deadline has passed."""
        await self.refuse(exchange, "deadline_exceeded")

    def told(self, request: Request, error: BaseException, status: int = 0) -> None:
        """The application let *error* out: tell it once, wherever it goes from here.

        *status* is that of its own answer, if it gave one.
        """
        if getattr(error, TOLD, False):
            return
        with contextlib.suppress(AttributeError):  # one with slots is told twice at worst
            setattr(error, TOLD, True)
        fault = classify(error)
        BUS.publish(
            RequestFailed(
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status or fault.status,
                category=fault.category,
                error=error,
            )
        )

    @staticmethod
    def is_stock(exchange: Exchange) -> bool:
        """Whether what the application made of its error is only its framework's stock answer."""
        return exchange.status == 500 and exchange.kept_body() in _STOCK_BODIES

    def _retry_after(self, database: Database | None) -> float | None:
        """Seconds after which it makes sense to try again: as long as the outage, within reason."""
        if database is None or database.away_since is None:
            return 1
        away_for = monotonic() - database.away_since
        return min(_LONGEST_RETRY_S, max(1, math.ceil(away_for / 2 + self._dice.random())))

    async def _answer(self, exchange: Exchange, told: Problem) -> None:
        request = exchange.request
        body = orjson.dumps(render(told, self._style))
        headers = [
            (b"content-type", MEDIA_TYPES[self._style].encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request.id.encode()),
        ]
        if told.retry_after is not None:
            headers.append((b"retry-after", str(math.ceil(told.retry_after)).encode()))
        if told.code == "shutting_down" and exchange.scope.get("http_version", "1.1") < "2":
            headers.append((b"connection", b"close"))
        origin = request.headers.get(b"origin") if request.headers else None
        headers += await self.cors.headers(exchange.scope, origin)
        start: Message = {"type": "http.response.start", "status": told.status, "headers": headers}
        sent = b"" if request.method == "HEAD" else body
        await exchange.answer(start, {"type": "http.response.body", "body": sent})


def _why(request: Request, database: Database | None) -> str | None:
    """What a developer wants to know of a refusal."""
    away = None if database is None else f"database {database.name!r} ({database.target}): {database.cause}"
    error = request.ledger.error
    if error is None:
        return away
    return debug_of(error) if away is None else f"{away}\n{debug_of(error)}"
