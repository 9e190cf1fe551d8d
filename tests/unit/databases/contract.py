"""What the watch relies on in a `Driver` and its `Session`s: for the real ones and the fake alike.

A rig is a driver and the power over its server. Each promise is a coroutine that takes one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from holdfast.databases.database import Driver

SOON = 10.0  # seconds within which must come what does come
SILENCE = 0.3  # how long we listen before we call it silence


@dataclass(frozen=True, slots=True)
class Rig:
    """A driver, and what can be done to its server."""

    driver: Driver
    refuse: Callable[[], object]
    silence: Callable[[], object]
    heal: Callable[[], object]


async def raised(question: Awaitable[object]) -> Exception | None:
    """What *question* raises: any exception of the library's will do."""
    try:
        await question
    except Exception as error:
        return error
    return None


async def it_says_what_it_is(rig: Rig) -> None:
    driver = rig.driver

    assert driver.library
    assert isinstance(driver.networked, bool)
    assert isinstance(driver.can_knock, bool)
    assert driver.provisional is False


async def its_figures_are_counts(rig: Rig) -> None:
    figures = rig.driver.pool()

    assert set(figures) in ({"size", "idle", "active", "waiting", "max"}, set())
    assert all(isinstance(one, int) and one >= 0 for one in figures.values())


async def a_server_that_is_there_answers(rig: Rig) -> None:
    async with asyncio.timeout(SOON):
        await rig.driver.knock()
        session = await rig.driver.open()
        await session.ping()
        assert await session.waiting([]) == {}
        await session.ping()
        await session.close()


async def closing_never_raises(rig: Rig) -> None:
    async with asyncio.timeout(SOON):
        session = await rig.driver.open()
        await session.close()
        await session.close()


async def a_server_that_refuses_is_told_at_once(rig: Rig) -> None:
    rig.refuse()
    async with asyncio.timeout(SOON):
        with pytest.raises(OSError):
            await rig.driver.knock()
        assert await raised(rig.driver.open()) is not None


async def a_session_that_was_lost_says_so_and_can_be_closed(rig: Rig) -> None:
    async with asyncio.timeout(SOON):
        session = await rig.driver.open()
        rig.refuse()
        assert await raised(session.ping()) is not None
        await session.close()


async def silence_is_neither_an_answer_nor_an_error(rig: Rig) -> None:
    async with asyncio.timeout(SOON):
        session = await rig.driver.open()
        rig.silence()
        for question in (rig.driver.knock, session.ping):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(question(), SILENCE)
        await session.close()


async def after_a_fault_it_answers_again(rig: Rig) -> None:
    rig.refuse()
    rig.heal()
    await a_server_that_is_there_answers(rig)


ALWAYS = (it_says_what_it_is, its_figures_are_counts, a_server_that_is_there_answers, closing_never_raises)
NETWORKED = (
    a_server_that_refuses_is_told_at_once,
    a_session_that_was_lost_says_so_and_can_be_closed,
    silence_is_neither_an_answer_nor_an_error,
    after_a_fault_it_answers_again,
)
EVERY_PROMISE = (*ALWAYS, *NETWORKED)
