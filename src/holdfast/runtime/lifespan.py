"""Driving a lifespan ourselves: startup, the state it leaves for requests, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]
_AFTER_ITS_WORD_S = 1.0  # it has failed, and may still put away what it had begun


class LifespanFailed(Exception):  # noqa: N818 - it says what happened
    """The application could not start: what it said, and as the cause what it raised, if anything."""


class Lifespan:
    """The server's side of the `lifespan` protocol; what an application says counts, not what it raises."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._started = False

    async def start(self) -> None:
        """Run the application's startup; raises `LifespanFailed` with its reason."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        self._task = asyncio.ensure_future(self._run(scope))
        self._task.set_name("lifespan")
        await self._inbox.put({"type": "lifespan.startup"})
        answer = await self._answer()
        if answer["type"] != "lifespan.startup.complete":
            await asyncio.wait([self._task], timeout=_AFTER_ITS_WORD_S)
            raise LifespanFailed(answer.get("message", "")) from self._error
        self._started = True

    async def stop(self) -> str | None:
        """Run the application's shutdown; why it failed, if it did."""
        if self._task is None or self._task.done():
            return None
        if not self._started:  # it would take the message for nothing, or never ask for it
            await self.abandon()
            return None
        await self._inbox.put({"type": "lifespan.shutdown"})
        answer = await self._answer()
        await asyncio.wait([self._task])
        if answer["type"] == "lifespan.shutdown.failed":
            return str(answer.get("message", ""))
        return None if self._error is None else f"{type(self._error).__name__}: {self._error}"

    async def abandon(self) -> None:
        """End it without its consent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    async def _run(self, scope: dict[str, Any]) -> None:
        """What it raises is kept here: a task that lets SystemExit out ends the loop."""
        try:
            await self._app(scope, self._inbox.get, self._answers.put)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - told by whoever asked for the start or the stop
            self._error = error

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
