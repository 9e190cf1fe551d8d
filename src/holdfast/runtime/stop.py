"""Stopping in order: each step timed and told, one that raises does not keep the next from running.

    1 drain       readiness says no, requests are still accepted for a while
    2 refuse      no new connection
    3 hang up     WebSockets closed with 1012, streams told
    4 answer      requests in flight finish; those held are answered 503
    5 cancel      nobody enters; what is left is cancelled, and awaited, so that its rollback completes
    6 close       the application's lifespan, our databases, the logs

All of it has to fit into the time allowed; what does not is named, and the exit status is 1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from holdfast.events import BUS, Bus, StopStep
from holdfast.runtime.server import Server

TURN_S = 0.02
SOCKETS_S = 1.0  # a WebSocket handler that has been told gets so long to end by itself
CANCEL_SHARE = 0.7  # of the time allowed goes by before what is left is cancelled


class Stage(Protocol):
    """What the composition root lets the stop do to requests."""

    def drain(self) -> None:
        """Readiness says no."""
        ...

    def tell_streams(self) -> None:
        """Answers that have begun and do not end learn that the client is as good as gone."""
        ...

    def answer_held(self) -> None:
        """Nobody waits any more, for a database or for a body of which nothing comes: 503. To be asked
        again and again: what is silent is found out in time."""
        ...

    def lock(self) -> None:
        """Nobody enters the application any more: 503."""
        ...

    def sockets(self) -> set[asyncio.Task[None]]:
        """The tasks of WebSockets."""
        ...

    def end_sockets(self) -> None:
        """Cancel them."""
        ...

    def cut(self) -> None:
        """End the database connections that requests still wait on."""
        ...

    def named(self) -> list[str]:
        """What is still being handled, for people."""
        ...


@dataclass(slots=True)
class Stop:
    """One stop: `run` returns the exit status. *shutdown* is the application's, *close* is ours."""

    server: Server
    stage: Stage
    shutdown: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    prestop: float = 0.0
    timeout: float = 10.0
    bus: Bus = BUS
    failed: list[str] = field(default_factory=list)
    until: float = 0.0

    async def run(self) -> int:
        """Stop in order; 0 when everything ended by itself, 1 when something had to be abandoned."""
        await self._step("drain", self._drain)
        self.until = monotonic() + self.timeout
        await self._step("refuse", self._refuse)
        await self._step("hang up", self._hang_up)
        await self._step("answer", self._answer)
        await self._step("cancel", self._cancel)
        await self._step("close", self._close)
        return 1 if self.failed else 0

    async def _step(self, name: str, step: Callable[[], Awaitable[str]]) -> None:
        began = monotonic()
        try:
            detail = await step()
        except Exception as error:  # noqa: BLE001 - the next step runs all the same
            detail = f"failed: {type(error).__name__}: {error}"
            self.failed.append(name)
        took = (monotonic() - began) * 1000
        self.bus.publish(StopStep(step=name, duration_ms=round(took, 1), detail=detail))

    async def _drain(self) -> str:
        self.stage.drain()
        await asyncio.sleep(self.prestop)
        return ""

    async def _refuse(self) -> str:
        await self.server.refuse()
        return ""

    async def _hang_up(self) -> str:
        self.server.hang_up()
        self.stage.tell_streams()
        return f"{len(self.stage.sockets())} WebSockets"

    async def _answer(self) -> str:
        self.stage.answer_held()
        cancel_at = monotonic() + (self.until - monotonic()) * CANCEL_SHARE
        sockets_until = monotonic() + SOCKETS_S
        while (self.server.parting() or self.server.busy()) and monotonic() < cancel_at:
            if monotonic() > sockets_until:
                self.stage.end_sockets()
                sockets_until = cancel_at
            await asyncio.sleep(TURN_S)
            self.stage.answer_held()  # a database may be found silent only now
        return f"{self.server.busy()} left"

    async def _cancel(self) -> str:
        self.stage.lock()  # whoever came now would run in an application that has shut down
        await asyncio.sleep(0)  # one whose task has not begun is told; cancelled, it would never begin
        left = self.server.tasks()
        if not left:
            return "nothing"
        names = self.stage.named()
        self.stage.cut()
        for task in left:
            task.cancel()
        hanging = await self._ended(left, max(0.1, (self.until - monotonic()) * CANCEL_SHARE))
        self.server.drop()
        if hanging:
            self.failed.append("cancel")
            return f"abandoned {len(hanging)}: {', '.join(names[:5])}"
        return f"cancelled {len(left)}: {', '.join(names[:5])}"

    async def _ended(self, tasks: set[asyncio.Task[None]], patience: float) -> set[asyncio.Task[None]]:
        """Those that have not ended after *patience* seconds."""
        left = (await asyncio.wait(tasks, timeout=patience / 2))[1]
        if left:
            self.stage.cut()  # a thread is not cancelled with its task: it may have begun another statement
            left = (await asyncio.wait(left, timeout=patience / 2))[1]
        return left

    async def _close(self) -> str:
        try:
            return await self._shut_down()
        finally:  # what is ours is put away whatever the application's did
            await asyncio.wait_for(self.close(), self._left())
            await self.server.end()

    async def _shut_down(self) -> str:
        """The application's own shutdown; one that hangs is named and left behind."""
        allowed = self._left()
        task = asyncio.ensure_future(self.shutdown())
        if (await asyncio.wait([task], timeout=allowed))[0]:
            task.result()
            return ""
        task.cancel()
        self.failed.append("close")
        return f"abandoned the application's own shutdown: it did not end in {allowed:.1f} s"

    def _left(self) -> float:
        return max(0.5, self.until - monotonic())
