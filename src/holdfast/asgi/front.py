"""The outermost ASGI application: it stands before the application and speaks for it when it cannot.

http       our own pages; else a `Request` with its ledger, run by `Replay`
websocket  passed through, with a request in context, so that its log lines carry an id
lifespan   ours round the application's: see `lifespan.py`
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.asgi.answers import Answers
from holdfast.asgi.context import path_in, request_of
from holdfast.asgi.door import Door
from holdfast.asgi.health import Health
from holdfast.asgi.journal_run import JOURNALED_AT
from holdfast.asgi.journal_run import SCOPE_KEY as RERUN
from holdfast.asgi.operations import Operations, operation_id
from holdfast.asgi.pages import Pages
from holdfast.asgi.replay import Replay
from holdfast.asgi.types import App, Receive, Scope, Send
from holdfast.context import REQUEST, Request

MARK = "holdfast"
LONGEST_HEADERS = 65536  # bytes of all values together; some servers have no bound of their own


@dataclass(frozen=True, slots=True)
class Stage:
    """What serves requests on one loop."""

    loop: asyncio.AbstractEventLoop
    door: Door
    answers: Answers
    replay: Replay
    health: Health
    operations: Operations | None = None
    place: str = ""  # where operations are shown


class Front:
    """holdfast before one application, on one server loop at a time."""

    def __init__(
        self,
        app: App,
        *,
        build: Callable[[Front, asyncio.AbstractEventLoop], Stage],
        lifespan: Callable[[Front, Scope, Receive, Send], Awaitable[None]],
        sockets: set[asyncio.Task[Any]],
        timeout: float,
    ) -> None:
        self.app = app
        self.routed: Any = app  # what has the route table
        self.state: dict[str, Any] | None = None  # of a lifespan that we drive ourselves
        self.opened: asyncio.Event | None = None  # while the application is not there yet
        self.opens_within = 0.0
        self._build = build
        self._lifespan = lifespan
        self._sockets = sockets
        self._timeout = timeout
        self._stage: Stage | None = None
        self._pages: Pages | None = None
        self._paths: Mapping[str, Any] = {}  # of our pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        # Written out for http: every coroutine in between is entered several times a request.
        if scope["type"] != "http" or MARK in scope:
            await self._other(scope, receive, send)
            return
        stage = self._stage
        loop = asyncio.get_running_loop()
        if stage is None or stage.loop is not loop:
            stage = self.stage(loop)
        path = path_in(scope) if scope.get("root_path") else scope["path"]
        if path in self._paths and await self._page(path, scope, send):
            return
        if stage.operations is not None and "/operations/" in path:
            operation = operation_id(scope, stage.place)
            if operation is not None:
                await stage.operations.show(operation, scope, send)
                return
        request = request_of(scope, self._timeout, path)
        if sum(map(len, request.headers.values())) > LONGEST_HEADERS:
            await _refuse_headers(send)
            return
        marked = _marked(scope, request)
        if self.state is not None:
            marked["state"] = self.state
        token = REQUEST.set(request)
        try:
            if self.opened is None or await self._open(stage, marked, receive, send):
                await stage.replay.run(marked, receive, send, request, loop)
        finally:
            REQUEST.reset(token)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no request of ours to run: another kind of scope, or one that is ours already."""
        kind = scope["type"]
        if MARK in scope:  # wrapped twice: the outer one does it
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(self, {**scope, MARK: True}, receive, send)
        else:
            await self.app(scope, receive, send)

    def stage(self, loop: asyncio.AbstractEventLoop | None = None) -> Stage:
        """What serves on *loop* (the running one), made when it is first needed."""
        loop = loop or asyncio.get_running_loop()
        stage = self._stage
        if stage is None or stage.loop is not loop:
            if stage is not None:
                stage.door.leave()
            stage = self._stage = self._build(self, loop)
            self._pages = self._lay_out(stage)
            self._paths = self._pages.at
        return stage

    def waiting_for(self, name: str) -> int:
        """How many requests wait for the database of that name. From any thread."""
        return 0 if self._stage is None else self._stage.door.waiting_for(name)

    def in_flight(self) -> list[str]:
        """Method and path of the requests that are being handled. From any thread."""
        live = [] if self._stage is None else list(self._stage.replay.live)
        return [f"{one.request.method} {one.request.path}" for one in live]

    def leave(self, *, for_good: bool = False) -> None:
        """The loop ends: nothing is listened to any more.

        *for_good* says that the process does, too: whoever still comes on this loop is refused. Otherwise
        the application may be asked again: tests do that, when its lifespan has ended.
        """
        stage, self._stage = self._stage, None
        if stage is None:
            return
        stage.door.leave()
        if for_good:
            stage.door.lock()
            self._stage = replace(stage, operations=None)  # the journal is closed

    # ---- http -----------------------------------------------------------------------------------

    async def _open(self, stage: Stage, scope: Scope, receive: Receive, send: Send) -> bool:
        """Wait for the application to be there; False when the request was answered instead."""
        assert self.opened is not None
        if stage.door.stopping:
            await stage.replay.turn_away(scope, receive, send, "shutting_down")
            return False
        patience = stage.replay.postponing.patience_of(scope)
        within = self.opens_within if patience is None else min(patience, self.opens_within)
        try:
            await asyncio.wait_for(self.opened.wait(), within)
        except TimeoutError:
            await stage.replay.turn_away(scope, receive, send, "starting")
            return False
        if stage.door.stopping:
            await stage.replay.turn_away(scope, receive, send, "shutting_down")
            return False
        return True

    # ---- our own pages --------------------------------------------------------------------------

    def _lay_out(self, stage: Stage) -> Pages:
        def apart() -> bool:
            return stage.door.stopping or (self.opened is not None and not self.opened.is_set())

        return Pages(self.app, self.routed, stage.health, stage.answers.cors, apart)

    async def _page(self, path: str, scope: Scope, send: Send) -> bool:
        """Answer with our page at *path*; False when the application has one of its own."""
        assert self._pages is not None
        marked = {**scope, MARK: True}
        if self.state is not None:
            marked["state"] = dict(self.state)
        return await self._pages.serve(path, marked, send)

    # ---- websocket ------------------------------------------------------------------------------

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._stage is not None and self._stage.door.locked:
            await send({"type": "websocket.close", "code": 1012, "reason": "shutting down"})
            return
        request = request_of(scope, self._timeout)
        marked = {**scope, MARK: request}
        if self.state is not None:
            marked["state"] = dict(self.state)
        token = REQUEST.set(request)
        task = asyncio.current_task()
        if task is not None:
            self._sockets.add(task)
            task.add_done_callback(self._sockets.discard)
        try:
            await self.app(marked, receive, send)
        finally:
            REQUEST.reset(token)


def _marked(scope: Scope, request: Request) -> Scope:
    """*scope* as ours; only the journal may say that a request comes from it."""
    marked = dict(scope)
    marked[MARK] = request
    if JOURNALED_AT in request.headers and RERUN not in scope:
        marked["headers"] = [pair for pair in scope["headers"] if pair[0] != JOURNALED_AT]
    return marked


async def _refuse_headers(send: Send) -> None:
    body = b"Request Header Fields Too Large"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": 431, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})
