"""The fake keeps the promises of the real drivers, and an engine on a file those that apply to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from contract import ALWAYS, EVERY_PROMISE, Rig
from fake_driver import FakeDriver, Mode
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.databases.sqlalchemy_driver import EngineDriver

Promise = Callable[[Rig], Awaitable[None]]


def nothing() -> None:
    """A file has no server."""


@pytest.mark.slow
@pytest.mark.parametrize("promise", EVERY_PROMISE, ids=lambda one: one.__name__)
async def test_the_fake_driver(promise: Promise) -> None:
    driver = FakeDriver()

    await promise(
        Rig(
            driver,
            refuse=lambda: driver.turn(Mode.REFUSES),
            silence=lambda: driver.turn(Mode.SILENT),
            heal=lambda: driver.turn(Mode.ANSWERS),
        )
    )


@pytest.mark.parametrize("promise", ALWAYS, ids=lambda one: one.__name__)
async def test_an_async_engine_on_a_file(promise: Promise, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    try:
        await promise(Rig(EngineDriver(engine.sync_engine), nothing, nothing, nothing))
    finally:
        await engine.dispose()


@pytest.mark.parametrize("promise", ALWAYS, ids=lambda one: one.__name__)
async def test_a_sync_engine_on_a_file(promise: Promise, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    try:
        await promise(Rig(EngineDriver(engine), nothing, nothing, nothing))
    finally:
        engine.dispose()
