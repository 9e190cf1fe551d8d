"""Driving a lifespan ourselves (BOOT-1, BOOT-4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.runtime.lifespan import Lifespan, LifespanFailed

COMPLETE = {"type": "lifespan.startup.complete"}


async def test_state_is_left_for_requests() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        scope["state"]["pool"] = "warm"
        await send(COMPLETE)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    lifespan = Lifespan(app)
    await lifespan.start()

    assert lifespan.state == {"pool": "warm"}
    assert await lifespan.stop() is None
    assert await lifespan.stop() is None


@pytest.mark.parametrize("raises", [False, True])
async def test_a_failed_start_carries_its_reason(raises: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no licence"})
        if raises:
            raise RuntimeError("no licence")

    with pytest.raises(LifespanFailed, match="no licence"):
        await Lifespan(app).start()


async def test_an_application_that_ends_without_a_word_has_failed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    with pytest.raises(LifespanFailed, match="without a word"):
        await Lifespan(app).start()


async def test_a_shutdown_that_fails_says_why() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "disk full"})
        raise OSError("disk full")

    lifespan = Lifespan(app)
    await lifespan.start()

    assert await lifespan.stop() == "disk full"


async def test_one_that_hangs_is_abandoned() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lifespan = Lifespan(app)
    await lifespan.start()
    await lifespan.abandon()

    assert ended.is_set()


async def test_a_shutdown_that_wants_to_end_the_process_only_says_so() -> None:
    """SHD-3: out of a task, SystemExit ends the loop, and with it the stop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        raise SystemExit(3)

    lifespan = Lifespan(app)
    await lifespan.start()

    assert await lifespan.stop() == "SystemExit: 3"


async def test_one_that_is_still_starting_is_not_asked_to_shut_down() -> None:
    """SHD-1: it does not listen, and the stop would wait for its whole time."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lifespan = Lifespan(app)
    starting = asyncio.ensure_future(lifespan.start())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])

    assert await asyncio.wait_for(lifespan.stop(), 3) is None
    assert ended.is_set()


async def test_what_never_started_is_stopped_already() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert await Lifespan(app).stop() is None
    await Lifespan(app).abandon()
