"""What the tests of databases share."""

from __future__ import annotations

import asyncio

import pytest
from stand import Stand


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def others_are_served(stand: Stand) -> None:
    """Nothing speaks against the database."""
    while True:
        stand.database.heard_at = stand.clock.now
        await asyncio.sleep(0.05)


@pytest.fixture
def busy(stand: Stand) -> Stand:
    """A stand whose database answers others all the time."""
    play = stand.play

    def playing(scene) -> None:
        async def both(stand: Stand) -> None:
            others = asyncio.create_task(others_are_served(stand))
            try:
                await scene(stand)
            finally:
                others.cancel()

        play(both)

    stand.play = playing  # type: ignore[method-assign]
    return stand
