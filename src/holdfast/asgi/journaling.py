"""Writing a request down: exactly as it was sent, durably, and then 202 in place of an answer.

How it was sent stands in `New`; what its headers do not say is kept as pseudo-headers, whose
names begin with a colon as in HTTP/2, so that they cannot be a client's.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import orjson

from holdfast.asgi.body import Body, BodyTooLongError, ClientGoneError
from holdfast.asgi.cors import Cors
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.types import Scope
from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.context import Request
from holdfast.events import BUS, Bus
from holdfast.faults.redact import redact_text
from holdfast.policy.routes import Routes
from holdfast.work.entry import New, name_of
from holdfast.work.events import JournalRefused, RequestJournaled
from holdfast.work.journal import Journal, JournalError, JournalFullError

F = TypeVar("F")

MARKED = "__holdfast_journaled__"
_CREDENTIALS = (b"authorization", b"x-api-key", b"cookie")
_ASK_AGAIN_S = 2  # told to the client in Retry-After
_PATH_SAFE = "/:@!$&'()*+,;=~"


def journaled(endpoint: F) -> F:
    """Mark *endpoint*: its requests are written down, and run later, when the database stays away.

    They are answered 202 with the `Location` of their outcome. Put it next to the function, below
    the decorator that makes a route of it.
    """
    setattr(getattr(endpoint, "fn", endpoint), MARKED, True)
    return endpoint


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be written down, in bytes, and which header names the order; time in seconds."""

    body_bytes: int = 1024 * 1024
    order_by: str | None = None
    within_s: float = 10.0  # for the disk


@dataclass(frozen=True, slots=True)
class Accepted:
    """It is durable. *id* is known to its client alone."""

    id: str
    number: int
    new: New


@dataclass(frozen=True, slots=True)
class Refusal:
    """It could not be written down; *code* is that of the 503."""

    code: str


class Journaling:
    """Accepts requests of *routes* into *journal*."""

    def __init__(
        self,
        journal: Journal,
        routes: Routes,
        rules: Rules,
        cors: Cors,
        bus: Bus = BUS,
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.journal = journal
        self._routes = routes
        self.rules = rules
        self._cors = cors
        self._bus = bus
        self._wake = wake
        self._clock = clock
        self._order_by = rules.order_by.lower().encode("latin-1") if rules.order_by else None

    def takes(self, method: str, path: str) -> bool:
        """Whether requests of that route are journaled."""
        return (method, path) in self._routes

    async def accept(
        self, scope: Scope, request: Request, body: Body, key: str | None
    ) -> Accepted | Refusal | None:
        """Write the request down; it is durable when this returns `Accepted`.

        None when its client left before the body had arrived. *key* is its Idempotency-Key, if any.
        """
        try:
            content = await body.whole(self.rules.body_bytes)
        except BodyTooLongError as error:
            return self._refused(request, error, "journal_body_too_large")
        except ClientGoneError:
            request.abandoned = True
            return None
        name = secrets.token_hex(16)
        new = self._new(name, scope, request, content, key or secrets.token_hex(16))
        try:
            number = await self._durable(self.journal.accept(new))
        except JournalFullError as error:
            return self._refused(request, error, "journal_full")
        except JournalError as error:
            return self._refused(request, error, "database_unavailable")
        self._bus.publish(
            RequestJournaled(request_id=request.id, method=request.method, path=request.path, number=number)
        )
        self._wake()
        return Accepted(name, number, new)

    async def answer(self, exchange: Exchange, accepted: Accepted, where: str) -> None:
        """Tell the client 202; *where* is the path of our operations, with a slash at its end."""
        request = exchange.request
        place = f"{exchange.scope.get('root_path', '')}{where}{accepted.id}"
        body = orjson.dumps(
            {
                "id": accepted.id,
                "status": "pending",
                "method": request.method,
                "path": exchange.scope["path"],
                "journaledAt": moment(accepted.new.journaled_at),
                "operation": place,
            }
        )
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"location", place.encode("latin-1", "replace")),
            (b"retry-after", str(_ASK_AGAIN_S).encode()),
            (b"x-request-id", request.id.encode()),
        ]
        origin = request.headers.get(b"origin") if request.headers else None
        headers += exposing(await self._cors.headers(exchange.scope, origin), b"Location")
        sent = b"" if request.method == "HEAD" else body
        await exchange.answer(
            {"type": "http.response.start", "status": 202, "headers": headers},
            {"type": "http.response.body", "body": sent},
        )

    # ---- inside ---------------------------------------------------------------------------------

    def _new(self, name: str, scope: Scope, request: Request, body: bytes, key: str) -> New:
        return New(
            name=name_of(name),
            key=key,
            order=self._order(dict(scope["headers"]), request.client),
            method=scope["method"],
            target=_target(scope),
            headers=(*((bytes(a), bytes(b)) for a, b in scope["headers"]), *_pseudo(scope, request.id)),
            body=body,
            client=request.client,
            journaled_at=self._clock.wall(),
        )

    def _order(self, headers: dict[bytes, bytes], client: str | None) -> str:
        """Who sent it, as far as that can be told; hashed, for it may be a secret."""
        names = (self._order_by, *_CREDENTIALS) if self._order_by else _CREDENTIALS
        kind = next((name for name in names if headers.get(name)), b"client")
        value = headers.get(kind) or (client or "").encode()
        return hashlib.sha256(kind + b"\0" + value).hexdigest()

    async def _durable(self, accepting: Future[int]) -> int:
        """The number, once it is on disk. An entry that is not acknowledged must not be run."""
        waiting = asyncio.wrap_future(accepting)
        waiting.add_done_callback(_seen)
        try:
            await asyncio.wait([waiting], timeout=self.rules.within_s)
        except asyncio.CancelledError:
            accepting.add_done_callback(self._take_back)
            raise
        if not waiting.done():
            accepting.add_done_callback(self._take_back)
            raise JournalError(
                f"{self.journal.place} did not store a request within {self.rules.within_s:.1f} s"
            )
        return waiting.result()

    def _take_back(self, accepted: Future[int]) -> None:
        if not accepted.cancelled() and accepted.exception() is None:
            self.journal.drop(accepted.result())

    def _refused(self, request: Request, error: Exception, code: str) -> Refusal:
        cause = redact_text(f"{type(error).__name__}: {error}")
        self._bus.publish(JournalRefused(request_id=request.id, place=self.journal.place, cause=cause))
        return Refusal(code)


def _seen(waiting: asyncio.Future[int]) -> None:
    """Nobody may be waiting any more for the failure it ends with."""
    if not waiting.cancelled():
        waiting.exception()


def moment(at: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exposing(headers: list[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    """CORS *headers* that let a browser's script read the header *name* too."""
    exposed = b"access-control-expose-headers"
    return [(a, b + b", " + name if a == exposed else b) for a, b in headers]


def _target(scope: Scope) -> str:
    """Path and query as they came, except where an outer application has taken a part of the path."""
    path: str = scope["path"]
    raw: Any = scope.get("raw_path")
    text = raw.decode("latin-1") if raw else ""
    if unquote(text) != path:
        text = quote(path, safe=_PATH_SAFE)
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{text}?{query}" if query else text


def _pseudo(scope: Scope, request_id: str) -> tuple[tuple[bytes, bytes], ...]:
    """What the headers do not say of how it was sent."""
    server = scope.get("server")
    client = scope.get("client")
    told = {
        b":scheme": scope.get("scheme", "http"),
        b":version": scope.get("http_version", "1.1"),
        b":root-path": scope.get("root_path", ""),
        b":server": f"{server[0]} {server[1] if server[1] is not None else ''}" if server else "",
        b":client-port": str(client[1] or 0) if client else "",
        b":request-id": request_id,
    }
    return tuple((name, value.encode("utf-8", "surrogateescape")) for name, value in told.items() if value)
