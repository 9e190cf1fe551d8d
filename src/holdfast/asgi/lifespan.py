"""Our startup and shutdown round the application's own, for any ASGI server.

    server sends startup    ours first; if it fails: `lifespan.startup.failed` with the reason
                            then the application's; its complete or failed is passed on
    server sends shutdown   ours first (nobody waits any more), then the application's, then ours
                            closes what is left

An application that raises before it asks for the first message does not support lifespan; one that
raises later has failed, and a server must be told so first: servers take an exception that comes without
a word for "unsupported" and serve regardless. No server needs more to end. Then it is raised all the same,
as Starlette does: test clients know of a failed start by nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from holdfast.asgi.types import App, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Steps:
    """What is ours to do; `begin` raises with a message for people when it cannot."""

    begin: Callable[[], Awaitable[None]]
    began: Callable[[], None]
    drain: Callable[[], Awaitable[None]]
    end: Callable[[], Awaitable[None]]


async def run(app: App, steps: Steps, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one `lifespan` scope. Raises what failed, ours or the application's, once it is told."""
    first = await receive()
    refusal = await _begun(steps)
    if refusal is not None:
        await send({"type": "lifespan.startup.failed", "message": str(refusal)})
        raise refusal
    inner = _Inner(first, receive, send, steps)
    try:
        await app(scope, inner.receive, inner.send)
    except Exception as error:  # noqa: BLE001 - told by message, as the protocol has it
        await inner.raised(error)
    else:
        await inner.returned()


async def _begun(steps: Steps) -> Exception | None:
    """Why it could not. Returned, because what a server raises when it is told would be chained to it."""
    try:
        await steps.begin()
    except Exception as error:  # noqa: BLE001 - raised once it is told
        await steps.end()
        return error
    return None


class _Inner:
    """The application's side of the conversation."""

    def __init__(self, first: Message, receive: Receive, send: Send, steps: Steps) -> None:
        self._first: Message | None = first
        self._receive = receive
        self._send = send
        self._steps = steps
        self._asked = False
        self._started = False
        self._stopped = False

    async def receive(self) -> Message:
        self._asked = True
        if self._first is not None:
            message, self._first = self._first, None
            return message
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            await self._steps.drain()
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if not kind.startswith("lifespan."):
            # It takes every scope for a request. No server stops at that: it does not support lifespan.
            msg = f"{kind!r} was sent in a lifespan scope"
            raise RuntimeError(msg)
        if kind == "lifespan.startup.complete":
            self._started = True
            self._steps.began()
        elif kind in ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self._stopped = True
            await self._steps.end()
        await self._send(message)

    async def raised(self, error: Exception) -> None:
        """The application let *error* out: tell it, unless it has, and raise it."""
        if self._stopped:
            raise error
        if self._started:
            self._stopped = True
            await self._steps.end()
            await self._send({"type": "lifespan.shutdown.failed", "message": _said(error)})
            raise error
        if self._asked:
            self._stopped = True
            await self._steps.end()
            await self._send({"type": "lifespan.startup.failed", "message": _said(error)})
            raise error
        await self._alone()

    async def returned(self) -> None:
        """The application has nothing more to say."""
        if not self._started and not self._stopped:
            await self._alone()

    async def _alone(self) -> None:
        """The application does not support lifespan: we do."""
        await self.send({"type": "lifespan.startup.complete"})
        self._first = None
        await self.receive()  # the one message that is left: shutdown
        await self.send({"type": "lifespan.shutdown.complete"})


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
