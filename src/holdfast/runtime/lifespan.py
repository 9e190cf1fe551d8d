"""Driving a lifespan ourselves: startup, the state it leaves for requests, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]


class LifespanFailed(Exception):  # noqa: N818 - it says what happened
    """The application said that it could not start."""


class Lifespan:
    """The server's side of the `lifespan` protocol; what an application says counts, not what it raises."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the application's startup; raises `LifespanFailed` with its reason."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        run: Any = self._app(scope, self._inbox.get, self._answers.put)
        self._task = asyncio.ensure_future(run)
        self._task.set_name("lifespan")
        await self._inbox.put({"type": "lifespan.startup"})
        answer = await self._answer()
        if answer["type"] != "lifespan.startup.complete":
            await self._ended()
            raise LifespanFailed(answer.get("message", ""))

    async def stop(self) -> str | None:
        """Run the application's shutdown; why it failed, if it did."""
        if self._task is None or self._task.done():
            return None
        await self._inbox.put({"type": "lifespan.shutdown"})
        answer = await self._answer()
        await self._ended()
        return answer.get("message") if answer["type"] == "lifespan.shutdown.failed" else None

    async def abandon(self) -> None:
        """End it without its consent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _ended(self) -> None:
        """Wait for its end; what it raises has been told by message."""
        assert self._task is not None
        await asyncio.gather(self._task, return_exceptions=True)

    async def _answer(self) -> Message:
        assert self._task is not None
        told = asyncio.ensure_future(self._answers.get())
        await asyncio.wait([told, self._task], return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            return told.result()
        told.cancel()
        if self._answers.empty():
            return {"type": "lifespan.ended", "message": "the application ended its lifespan without a word"}
        return self._answers.get_nowait()
