"""Our pages before the application: which it has of its own, and how ours are shown.

known from its routes, or asked already    the application's, or ours
not known, all is well                     it is asked first; liveness hardly waits for that
not known, and a database is away          ours: what it would say now says nothing
it did not say, or failed                  ours, and it is asked again beside
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import orjson

from holdfast.asgi.asking import ASK_S, ask
from holdfast.asgi.context import request_of
from holdfast.asgi.cors import Cors
from holdfast.asgi.health import Health, Reply
from holdfast.asgi.own_routes import own_paths
from holdfast.asgi.types import App, Scope, Send

PREFIX = "/_holdfast"
LIVENESS = ("/health", "/livez")
_GRACE_S = 0.05
_SHOWN = ("GET", "HEAD")
Page = Callable[[], Awaitable[Reply]]


class Pages:
    """Those of one server loop. *routed* has the route table of *app*; *apart*: it is not to be asked now."""

    def __init__(
        self, app: App, routed: object, health: Health, cors: Cors, apart: Callable[[], bool]
    ) -> None:
        pages = health.routes()
        own = own_paths(routed, pages)
        always = {PREFIX + path: page for path, page in pages.items()}
        unless_own = {path: page for path, page in pages.items() if own is None or path not in own}
        self.at: dict[str, Page] = {**unless_own, **always}
        self._app = app
        self._health = health
        self._cors = cors
        self._apart = apart
        self._owned = dict.fromkeys(always if own is None else self.at, False)
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._unanswered: set[str] = set()  # asked in vain: nobody waits for that again

    async def serve(self, path: str, scope: Scope, send: Send) -> bool:
        """Answer with the page at *path*; False when it is for the application to answer.

        So is what a browser asks before it sends a request: the application knows whom it allows.
        """
        if scope["method"] == "OPTIONS" or await self._owns(path, scope):
            return False
        shown = scope["method"] in _SHOWN
        status, content = await self.at[path]() if shown else (405, {"error": "method not allowed"})
        if isinstance(content, bytes):
            body, kind = content, b"text/plain; version=0.0.4; charset=utf-8"
        else:
            body, kind = orjson.dumps(content), b"application/json"
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_of(scope, 0.0, path).id.encode()),
            *([] if shown else [(b"allow", b"GET, HEAD")]),
            *await self._allowed(scope),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        return True

    # ---- what the application has ---------------------------------------------------------------

    async def _owns(self, path: str, scope: Scope) -> bool:
        """Whether the application answers this path itself, as far as that can be told now."""
        known = self._owned.get(path)
        if known is not None:
            return known
        if self._troubled():
            return False
        asked_before = path in self._unanswered or path in self._asking
        asking = self._ask(path, scope)
        if path in LIVENESS:
            if not asked_before:
                await asyncio.wait([asking], timeout=_GRACE_S)
        elif path not in self._unanswered:
            await asyncio.wait([asking], timeout=ASK_S)
        return self._owned.get(path, False)

    def _ask(self, path: str, scope: Scope) -> asyncio.Task[None]:
        asking = self._asking.get(path)
        if asking is None:
            asking = self._asking[path] = asyncio.ensure_future(self._learn(path, scope))
            asking.add_done_callback(partial(self._asked, path))
        return asking

    def _asked(self, path: str, _: asyncio.Task[None]) -> None:
        self._asking.pop(path, None)

    async def _learn(self, path: str, scope: Scope) -> None:
        """Ask the application for *path*. What it says while it fails, or its database, is not kept."""
        start = await ask(self._app, {**scope, "method": "GET"})
        if start is None or start["status"] >= 500 or self._troubled():
            self._unanswered.add(path)
            return
        self._owned[path] = start["status"] not in (404, 405)

    def _troubled(self) -> bool:
        return self._apart() or not self._health.settled

    async def _allowed(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """The CORS headers; the application is not asked for them in an outage, so that no page waits."""
        origin = dict(scope["headers"]).get(b"origin")
        if self._troubled():
            return self._cors.at_once(origin)
        return await self._cors.headers(scope, origin)
