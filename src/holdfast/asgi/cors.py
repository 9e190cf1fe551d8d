"""The CORS headers of our own answers: those the application itself would send to that origin.

A browser that gets a 503 without them reports "blocked by CORS" and hides the 503. So the
application is asked, once for each origin, with a preflight of its own kind; what it would allow
is kept. Where it says nothing, the front end's address in the settings decides; where it fails,
too, until it is asked again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.asgi.asking import ASK_S, ask
from holdfast.asgi.types import App, Scope

Headers = list[tuple[bytes, bytes]]

_LEARNED = (b"access-control-allow-origin", b"access-control-allow-credentials")
_EXPOSED = (b"access-control-expose-headers", b"Retry-After, X-Request-ID")
_BOUND = 256
_LEFT_ALONE_S = 2.0  # after it took too long: our answers are not to wait for it one after another


class Cors:
    """What each origin is allowed, as far as it has asked."""

    def __init__(self, app: App, client_urls: str | None) -> None:
        self._app = app
        self._clients = tuple(
            one.strip().rstrip("/") for one in (client_urls or "").split(",") if one.strip()
        )
        self._known: dict[bytes, Headers] = {}
        self._ask_again_at = 0.0  # by the loop's clock

    async def headers(self, scope: Scope, origin: bytes | None) -> Headers:
        """The headers for an answer of ours to *origin*; none when it did not name itself."""
        if not origin:
            return []
        known = self._known.get(origin)
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began < self._ask_again_at:
            return self._configured(origin)
        learned = await self._ask(scope, origin)
        if learned is None:
            if loop.time() - began >= ASK_S:
                self._ask_again_at = loop.time() + _LEFT_ALONE_S
            return self._configured(origin)
        known = learned or self._configured(origin)
        if len(self._known) < _BOUND:
            self._known[origin] = known
        return known

    def at_once(self, origin: bytes | None) -> Headers:
        """The same as far as it is known, without asking."""
        if not origin:
            return []
        known = self._known.get(origin)
        return self._configured(origin) if known is None else known

    def _configured(self, origin: bytes) -> Headers:
        if origin.decode("latin-1").rstrip("/") not in self._clients:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
            _EXPOSED,
        ]

    async def _ask(self, scope: Scope, origin: bytes) -> Headers | None:
        """What the application's own preflight answer allows; None when it did not say.

        An answer that tells of a failure says nothing: its database may be away.
        """
        start = await ask(self._app, _preflight(scope, origin))
        if start is None or start["status"] >= 500:
            return None
        answer = {bytes(name).lower(): bytes(value) for name, value in start.get("headers", ())}
        learned = [(name, answer[name]) for name in _LEARNED if name in answer]
        if b"access-control-allow-origin" not in answer:
            return []
        return [*learned, (b"vary", b"Origin"), _EXPOSED]


def _preflight(scope: Scope, origin: bytes) -> Scope:
    asked: dict[str, Any] = dict(scope)
    asked["method"] = "OPTIONS"
    kept = [(name, value) for name, value in scope["headers"] if name in (b"host", b"x-forwarded-proto")]
    asked["headers"] = [
        *kept,
        (b"origin", origin),
        (b"access-control-request-method", scope["method"].encode("latin-1")),
    ]
    return asked
