"""Running a journaled request through an ASGI application, and collecting what it answers.

The application sees it exactly as it was sent, with `holdfast-journaled-at` added, which no client
can send. Whoever stands between finds a `Rerun` in the scope, and tells it of refusals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from holdfast.asgi.journaling import moment
from holdfast.asgi.types import App, Message, Scope
from holdfast.faults.redact import redact_text
from holdfast.work.attempt import Ended, Raised, meaning_of
from holdfast.work.entry import Answer, Entry

SCOPE_KEY = "holdfast.journal"
JOURNALED_AT = b"holdfast-journaled-at"
CUT = b"holdfast-cut"
LONGEST_ANSWER = 65536
_KEPT = frozenset({b"content-type", b"content-encoding", b"location"})


class Rerun:
    """One run of a journaled request, as the request path sees it: `scope["holdfast.journal"]`."""

    __slots__ = ("code", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.code: str | None = None  # of our own refusal, when there was one

    @property
    def key(self) -> str:
        """Under which its effect happens once."""
        return self.entry.new.key

    @property
    def request_id(self) -> str | None:
        """The id that its 202 bore, whoever made it; log lines of then and now carry the same one."""
        return next(
            (value.decode() for name, value in self.entry.new.headers if name == b":request-id"), None
        )

    def refused(self, code: str) -> None:
        """We answered it in place of the application, with the problem *code*."""
        self.code = code


class Runner:
    """Runs entries through *app*. *state* is what the application's lifespan has left, if anything."""

    def __init__(self, app: App, state: Callable[[], dict[str, Any] | None] = lambda: None) -> None:
        self._app = app
        self._state = state

    async def __call__(self, entry: Entry) -> Ended:
        """Run *entry* once, to its end."""
        rerun = Rerun(entry)
        scope = scope_of(entry)
        scope[SCOPE_KEY] = rerun
        state = self._state()
        if state is not None:
            scope["state"] = dict(state)
        collected = Collected(entry.new.body)
        cause = "the application gave no answer"
        try:
            await self._app(scope, collected.receive, collected.send)
        except Exception as error:  # noqa: BLE001 - the application may raise anything
            cause = redact_text(f"{type(error).__name__}: {error}".split("\n", 1)[0])[:300]
        meaning = meaning_of(rerun.code) if rerun.code is not None else None
        if meaning is not None:
            return meaning
        return collected.answer() if collected.complete else Raised(cause)


class Collected:
    """The client of such a request: it gives the body and keeps the answer, up to a bound."""

    def __init__(self, body: bytes) -> None:
        self.complete = False
        self._body: bytes | None = body
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._kept = 0
        self._size = 0
        self._over = asyncio.Event()

    async def receive(self) -> Message:
        """The body; then that the client has left, once it has its answer."""
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """What the application sends."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [
                (bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())
            ]
        elif message["type"] == "http.response.body":
            self._keep(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self.complete = True
                self._over.set()

    def answer(self) -> Answer:
        """What was answered; `holdfast-cut` tells the whole length of a body that was too long."""
        headers = [pair for pair in self._headers if pair[0] in _KEPT]
        if self._size > self._kept:
            headers.append((CUT, str(self._size).encode()))
        return Answer(self._status, tuple(headers), b"".join(self._parts))

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        kept = part[: LONGEST_ANSWER - self._kept]
        self._kept += len(kept)
        self._parts.append(kept)


def scope_of(entry: Entry) -> Scope:
    """The scope of *entry* as it was sent, but for what this module's first lines say."""
    new = entry.new
    told = {name: value for name, value in new.headers if name.startswith(b":")}
    raw, _, query = new.target.partition("?")
    headers = [
        (name, value)
        for name, value in new.headers
        if not name.startswith(b":") and name.lower() != JOURNALED_AT
    ]
    headers.append((JOURNALED_AT, moment(new.journaled_at).encode()))
    host, _, port = told.get(b":server", b"").decode().partition(" ")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": told.get(b":version", b"1.1").decode(),
        "method": new.method,
        "scheme": told.get(b":scheme", b"http").decode(),
        "path": unquote(raw),
        "raw_path": raw.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": told.get(b":root-path", b"").decode("utf-8", "surrogateescape"),
        "headers": headers,
        "client": (new.client, int(told.get(b":client-port", b"0"))) if new.client else None,
        "server": (host, int(port) if port else None) if host else None,
    }
