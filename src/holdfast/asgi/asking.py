"""Asking the application something ourselves: what it would answer to a request that nobody sent."""

from __future__ import annotations

import asyncio

from holdfast.asgi.types import App, Message, Scope

ASK_S = 1.0


async def ask(app: App, scope: Scope, within: float = ASK_S) -> Message | None:
    """How the answer of *app* to *scope*, a request without a body, starts.

    None when it raised, said nothing, or its answer was not complete after *within* seconds.
    """
    listener = _Listener()
    asked = asyncio.ensure_future(_run(app, scope, listener))
    try:
        await asyncio.wait([asked], timeout=within)
    finally:
        asked.cancel()  # one that does not end of that is not waited for: it may shield what it does
    if asked.done():
        return None if asked.cancelled() or not asked.result() else listener.start
    return listener.start if listener.complete.is_set() else None


async def _run(app: App, scope: Scope, listener: _Listener) -> bool:
    try:
        await app(scope, listener.receive, listener.send)
    except Exception:  # noqa: BLE001 - an application that fails has not answered
        return False
    return True


class _Listener:
    """The client's side: it sends nothing, stays until the answer is complete, and leaves then."""

    __slots__ = ("_sent", "complete", "start")

    def __init__(self) -> None:
        self.start: Message | None = None
        self._sent = False
        self.complete = asyncio.Event()

    async def receive(self) -> Message:
        """The empty body once, and then, at the end, that the client has left.

        A second body without a wait would keep who listens for the client's leaving busy for ever:
        nothing else would run on the loop any more.
        """
        if not self._sent:
            self._sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.complete.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete.set()
