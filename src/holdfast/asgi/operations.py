"""`GET /operations/{id}`: what became of a journaled request, for whoever was given its id.

The id is hashed and looked up by its hash, so the time an answer takes says nothing about ids.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from http import HTTPStatus
from typing import Any

import orjson

from holdfast.asgi.context import path_in
from holdfast.asgi.cors import Cors
from holdfast.asgi.journal_run import CUT
from holdfast.asgi.journaling import exposing, moment
from holdfast.asgi.opted_in import owns
from holdfast.asgi.types import Scope, Send
from holdfast.faults.problem import problem, render
from holdfast.work.entry import Answer, Entry, State, name_of
from holdfast.work.journal import Journal, JournalError
from holdfast.work.progress import path_of

OPEN = "/operations/"
ALWAYS = "/_holdfast/operations/"
_WITHIN_S = 5.0
_ASK_AGAIN_S = 1
_LONGEST_ID = 128
_LONGEST_SHOWN = 1024 * 1024  # bytes of a body once it is unpacked
_PACKED = frozenset({b"gzip", b"x-gzip", b"deflate"})
_KINDS = {"problem": b"application/problem+json"}


def place_of(app: Any) -> str:
    """Where operations are shown: `/operations/`, unless *app* has such routes, or none we can see."""
    return OPEN if owns(app, OPEN.rstrip("/")) is False else ALWAYS


def operation_id(scope: Scope, place: str) -> str | None:
    """The id that *scope* asks for at *place* or under our own prefix; None when it asks for no operation."""
    if scope["method"] not in ("GET", "HEAD"):
        return None
    path = path_in(scope)
    for prefix in (place, ALWAYS):
        if path.startswith(prefix):
            name = path[len(prefix) :]
            return name if name and "/" not in name and len(name) <= _LONGEST_ID else None
    return None


class Operations:
    """The page, for one journal."""

    def __init__(self, journal: Journal, cors: Cors) -> None:
        self._journal = journal
        self._cors = cors

    async def show(self, operation: str, scope: Scope, send: Send) -> None:
        """Answer with what is known of *operation*: 404 for one that never was, or is forgotten."""
        try:
            finding = asyncio.wrap_future(self._journal.find(name_of(operation)))
            entry = await asyncio.wait_for(finding, _WITHIN_S)
        except (JournalError, TimeoutError):
            await self._fail("journal_unavailable", scope, send)
            return
        if entry is None:
            await self._fail("not_found", scope, send)
            return
        waits = entry.state in (State.PENDING, State.RUNNING)
        more = [(b"retry-after", str(_ASK_AGAIN_S).encode())] if waits else []
        body = orjson.dumps({"id": operation, **described(entry)})
        await self._send(200, body, b"application/json", more, scope, send)

    async def _fail(self, code: str, scope: Scope, send: Send) -> None:
        retry_after = _ASK_AGAIN_S if code == "journal_unavailable" else None
        told = problem(code, instance=scope["path"], retry_after=retry_after)
        more = [] if retry_after is None else [(b"retry-after", str(retry_after).encode())]
        await self._send(told.status, orjson.dumps(render(told)), _KINDS["problem"], more, scope, send)

    async def _send(
        self,
        status: int,
        body: bytes,
        kind: bytes,
        more: list[tuple[bytes, bytes]],
        scope: Scope,
        send: Send,
    ) -> None:
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *more,
        ]
        origin = dict(scope["headers"]).get(b"origin")
        headers += exposing(await self._cors.headers(scope, origin), b"Location")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def described(entry: Entry) -> dict[str, Any]:
    """What the client of *entry* is told of it."""
    return {
        "status": entry.state.value,
        "method": entry.new.method,
        "path": path_of(entry),
        "journaledAt": moment(entry.new.journaled_at),
        "finishedAt": moment(entry.finished_at) if entry.finished_at is not None else None,
        "attempts": entry.attempts,
        "response": _response(entry.answer) if entry.answer is not None else None,
        "problem": _problem(entry),
    }


def _response(answer: Answer) -> dict[str, Any]:
    headers = dict(answer.headers)
    body = _unpacked(answer.body, headers)
    shown = [b"content-type", b"location", *([b"content-encoding"] if body is None else [])]
    told: dict[str, Any] = {
        "status": answer.status,
        "headers": {name.decode(): headers[name].decode("latin-1") for name in shown if name in headers},
        **(_encoded(answer.body) if body is None else _content(body, headers)),
    }
    if CUT in headers:
        told["cutFrom"] = int(headers[CUT])
    return told


def _unpacked(body: bytes, headers: dict[bytes, bytes]) -> bytes | None:
    """*body* as it was before it was compressed; None when it is too long then, or in a way unknown to us."""
    packing = headers.get(b"content-encoding", b"identity").strip().lower()
    if packing == b"identity" or not body:
        return body
    for wbits in (47, -15) if packing in _PACKED else ():  # some send deflate without its envelope
        unpacking = zlib.decompressobj(wbits)
        try:
            plain = unpacking.decompress(body, _LONGEST_SHOWN)
        except zlib.error:
            continue
        return None if unpacking.unconsumed_tail else plain
    return None


def _content(body: bytes, headers: dict[bytes, bytes]) -> dict[str, Any]:
    """*body* as JSON when it is, else as text, else in base 64, which is said."""
    if not body:
        return {"body": None}
    if b"json" in headers.get(b"content-type", b"").partition(b";")[0]:
        try:
            return {"body": orjson.loads(body)}
        except orjson.JSONDecodeError:
            pass  # cut, or not what it says: then it is text, or not even that
    try:
        return {"body": body.decode("utf-8", "ignore" if CUT in headers else "strict")}
    except UnicodeDecodeError:
        return _encoded(body)


def _encoded(body: bytes) -> dict[str, Any]:
    return {"body": base64.b64encode(body).decode(), "encoding": "base64"}


def _problem(entry: Entry) -> dict[str, Any] | None:
    """Why it failed: the application's own problem, else one that says its status; else that it is dead."""
    answer = entry.answer
    if entry.state is State.DONE and answer is None:
        return render(problem("applied_but_interrupted", instance=path_of(entry)))
    if entry.state is State.DEAD:
        return render(problem("operation_dead", instance=path_of(entry)))
    if entry.state is not State.FAILED or answer is None:
        return None
    if dict(answer.headers).get(b"content-type", b"").startswith(_KINDS["problem"]):
        told = _response(answer)["body"]
        if isinstance(told, dict):
            return told
    title = HTTPStatus(answer.status).phrase if answer.status in _KNOWN else "Refused"
    return {"type": "about:blank", "title": title, "status": answer.status, "instance": path_of(entry)}


_KNOWN = frozenset(status.value for status in HTTPStatus)
