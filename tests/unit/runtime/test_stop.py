"""Stopping in order: each step timed and told, whatever the others do (SHD-1, SHD-2, SHD-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.events import Bus, Event, StopStep
from holdfast.runtime import stop as module
from holdfast.runtime.stop import Stop

STEPS = ["drain", "refuse", "hang up", "answer", "cancel", "close"]


class Server:
    """A server with handlers of our own; notes what it is told."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.handlers: set[asyncio.Task[None]] = set()

    def handles(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.handlers.add(task)
        task.add_done_callback(self.handlers.discard)
        return task

    async def refuse(self) -> None:
        self.log.append("refuse")

    def hang_up(self) -> None:
        self.log.append("hang up")

    def drop(self) -> None:
        self.log.append("drop")

    def parting(self) -> int:
        return 0

    def busy(self) -> int:
        return len(self.handlers)

    def tasks(self) -> set[asyncio.Task[None]]:
        return set(self.handlers)

    async def end(self) -> None:
        self.log.append("end")


class Stage:
    """What the stop may do to requests, noted."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.open_sockets: set[asyncio.Task[None]] = set()
        self.breaks_in: str | None = None

    def _note(self, what: str) -> None:
        self.log.append(what)
        if what == self.breaks_in:
            raise RuntimeError("broken")

    def drain(self) -> None:
        self._note("drain")

    def tell_streams(self) -> None:
        self._note("tell streams")

    def answer_held(self) -> None:
        self._note("answer held")

    def lock(self) -> None:
        self._note("lock")

    def cut(self) -> None:
        self._note("cut")

    def sockets(self) -> set[asyncio.Task[None]]:
        return {one for one in self.open_sockets if not one.done()}

    def end_sockets(self) -> None:
        self._note("end sockets")
        for one in self.open_sockets:
            one.cancel()

    def named(self) -> list[str]:
        return ["GET /stream", "WebSocket chat"]


class Scene:
    def __init__(self, timeout: float = 0.6) -> None:
        self.log: list[str] = []
        self.events: list[Event] = []
        self.server = Server(self.log)
        self.stage = Stage(self.log)
        bus = Bus()
        bus.subscribe(self.events.append)
        self.closing: Callable[[], Awaitable[None]] = self._closes
        self.shutting_down: Callable[[], Awaitable[None]] = self._shuts_down
        server: Any = self.server
        self.stop = Stop(
            server,
            self.stage,
            lambda: self.shutting_down(),
            lambda: self.closing(),
            timeout=timeout,
            bus=bus,
        )

    async def _shuts_down(self) -> None: ...

    async def _closes(self) -> None:
        self.log.append("close")

    @property
    def told(self) -> dict[str, str]:
        return {one.step: one.detail for one in self.events if isinstance(one, StopStep)}


async def test_the_steps_in_order() -> None:
    scene = Scene()

    assert await scene.stop.run() == 0
    assert scene.log == ["drain", "refuse", "hang up", "tell streams", "answer held", "lock", "close", "end"]
    assert list(scene.told) == STEPS
    assert scene.told["cancel"] == "nothing"


async def test_requests_in_flight_finish() -> None:
    scene = Scene(timeout=5)

    async def handler() -> None:
        await asyncio.sleep(0.05)
        scene.log.append("answered")

    scene.server.handles(handler())

    assert await scene.stop.run() == 0
    assert scene.log.index("answer held") < scene.log.index("answered") < scene.log.index("close")


@pytest.mark.slow
async def test_what_is_left_is_cancelled_and_its_rollback_awaited() -> None:
    """With uvicorn's own graceful timeout handlers are cancelled and not awaited."""
    scene = Scene()

    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            scene.log.append("rolled back")

    scene.server.handles(handler())
    await asyncio.sleep(0)

    assert await scene.stop.run() == 0
    assert scene.log[-5:] == ["cut", "rolled back", "drop", "close", "end"]
    assert scene.told["cancel"] == "cancelled 1: GET /stream, WebSocket chat"


@pytest.mark.slow
async def test_what_hangs_is_named_and_the_status_is_one() -> None:
    """SHD-2."""
    scene = Scene(timeout=0.4)
    released = asyncio.Event()

    async def handler() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    task = scene.server.handles(handler())
    await asyncio.sleep(0)

    assert await scene.stop.run() == 1
    assert scene.told["cancel"] == "abandoned 1: GET /stream, WebSocket chat"
    assert scene.log.count("cut") == 2  # a thread may have begun with another statement
    assert scene.log[-2:] == ["close", "end"]
    released.set()
    await task


@pytest.mark.parametrize(
    ("breaks_in", "step"),
    [("drain", "drain"), ("tell streams", "hang up"), ("answer held", "answer"), ("lock", "cancel")],
)
async def test_a_step_that_raises_is_told_and_the_next_one_runs(breaks_in: str, step: str) -> None:
    """SHD-3."""
    scene = Scene()
    scene.stage.breaks_in = breaks_in

    assert await scene.stop.run() == 1
    assert list(scene.told) == STEPS
    assert scene.told[step] == "failed: RuntimeError: broken"
    assert scene.log[-2:] == ["close", "end"]


@pytest.mark.slow
async def test_a_close_that_hangs_is_given_up() -> None:
    scene = Scene(timeout=0.05)
    scene.closing = asyncio.Event().wait

    assert await asyncio.wait_for(scene.stop.run(), 3) == 1
    assert scene.told["close"].startswith("failed: TimeoutError")


@pytest.mark.slow
async def test_a_shutdown_that_hangs_is_named_and_ours_runs() -> None:
    """SHD-2."""
    scene = Scene(timeout=0.05)
    scene.shutting_down = asyncio.Event().wait

    assert await asyncio.wait_for(scene.stop.run(), 3) == 1
    assert scene.told["close"] == "abandoned the application's own shutdown: it did not end in 0.5 s"
    assert scene.log[-2:] == ["close", "end"]


async def test_a_shutdown_that_raises_does_not_keep_ours_from_running() -> None:
    """SHD-3."""
    scene = Scene()

    async def raises() -> None:
        raise RuntimeError("broken")

    scene.shutting_down = raises

    assert await scene.stop.run() == 1
    assert scene.told["close"] == "failed: RuntimeError: broken"
    assert scene.log[-2:] == ["close", "end"]


async def test_a_socket_that_neither_reads_nor_sends_is_ended_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """SHD-1: it would hold the stop until the end of its time."""
    monkeypatch.setattr(module, "SOCKETS_S", 0.05)
    scene = Scene(timeout=60)
    task = scene.server.handles(asyncio.Event().wait())
    scene.stage.open_sockets.add(task)
    await asyncio.sleep(0)

    assert await asyncio.wait_for(scene.stop.run(), 3) == 0
    assert task.cancelled()
    assert scene.told["hang up"] == "1 WebSockets"


async def test_before_refusing_it_says_that_it_drains() -> None:
    """HOLDFAST_PRESTOP_MS: a load balancer learns it from readiness while requests are still accepted."""
    scene = Scene()
    scene.stop.prestop = 0.05
    stopping = asyncio.ensure_future(scene.stop.run())
    await asyncio.sleep(0.01)

    assert scene.log == ["drain"]
    assert await stopping == 0
