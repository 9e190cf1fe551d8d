"""When the loop has been away (PRF-8)."""

from __future__ import annotations

import asyncio
from typing import Any

from asgi_stage import turns

from holdfast.asgi.absence import Absence, seconds


def test_it_is_noticed_before_the_first_thing_is_done_and_for_two_seconds(run, clock) -> None:
    """The process slept: what had been sent meanwhile comes before any timer, or just after it."""

    async def story() -> list[bool]:
        absence = Absence(clock.monotonic)
        absence.follow(asyncio.get_running_loop())
        await asyncio.sleep(60)
        told = [absence.lately()]
        clock.now += 30
        told.append(absence.lately())
        await turns()  # its timer has run
        told.append(absence.lately())
        await asyncio.sleep(1.9)
        told.append(absence.lately())
        await asyncio.sleep(0.2)
        told.append(absence.lately())
        absence.leave()
        return told

    assert run(story()) == [False, True, True, True, False]


def test_it_is_noticed_where_nobody_asked_meanwhile(run, clock) -> None:
    async def story() -> bool:
        absence = Absence(clock.monotonic)
        absence.follow(asyncio.get_running_loop())
        clock.now += 30
        await turns()
        return absence.lately()

    assert run(story())


def test_a_loop_that_is_followed_no_more_is_not_away(run, clock) -> None:
    async def story() -> list[bool]:
        absence = Absence(clock.monotonic)
        never = absence.lately()
        absence.follow(asyncio.get_running_loop())
        absence.leave()
        absence.leave()
        clock.now += 30
        return [never, absence.lately()]

    assert run(story()) == [False, False]


def test_its_seconds_go_on(monkeypatch: Any) -> None:
    assert seconds() <= seconds()
    monkeypatch.setattr("holdfast.asgi.absence._CLOCK", None)
    assert seconds() <= seconds()
