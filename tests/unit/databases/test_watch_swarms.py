"""DB-12: silences that come one after the other take what asks about them, too: none costs a time-out."""

from __future__ import annotations

import asyncio

import pytest
from fake_driver import Mode
from stand import BACKEND, Stand, opens, sent

from holdfast.databases.link import Opening
from holdfast.databases.looking import Watchfulness
from jumping import until

RULES = Watchfulness()


async def a_silence(stand: Stand, seconds: float = 0.7) -> None:
    """What is sent meanwhile is lost."""
    stand.driver.turn(Mode.SILENT)
    await asyncio.sleep(seconds)
    stand.driver.turn(Mode.ANSWERS)


def test_a_login_of_ours_that_is_lost_as_well_costs_no_time_out(busy: Stand) -> None:
    """Short silences in quick succession: the second takes the login that was to show what the first took."""
    ended: list[float] = []

    async def scene(stand: Stand) -> None:
        await stand.watch.connect(stand.database, 1.0)
        opens(stand, ended)
        await asyncio.sleep(0.9)
        await a_silence(stand)
        await until(lambda: ended)

    busy.play(scene)

    assert 1.6 < ended[0] < 2.3
    assert busy.driver.logins <= 1 + 3


def test_a_question_that_is_lost_as_well_costs_no_time_out(busy: Stand) -> None:
    async def scene(stand: Stand) -> None:
        stand.driver.waiting = {BACKEND: 30.0}
        await stand.watch.connect(stand.database, 1.0)
        link = sent(stand)
        await asyncio.sleep(0.9)
        await a_silence(stand, 0.3)
        await until(lambda: link.cut)

        assert stand.clock.now - link.began < 1.7

    busy.play(scene)

    assert [one.closed for one in busy.driver.sessions] == [True, True]  # the second by the end of the watch


def test_a_question_whose_session_is_replaced_under_it_is_asked_on_the_other(busy: Stand) -> None:
    """A probe of the watch's has let in a new one and closed ours."""

    async def scene(stand: Stand) -> None:
        stand.driver.waiting = {BACKEND: 30.0}
        await stand.watch.connect(stand.database, 1.0)
        link = sent(stand)
        stand.driver.turn(Mode.SILENT)
        first = stand.driver.sessions[0]
        await until(lambda: stand.driver.under_way)
        stand.driver.turn(Mode.ANSWERS)
        await stand.watch.connect(stand.database, 1.0)

        assert first.closed
        await until(lambda: link.cut, within=0.2)

    busy.play(scene)

    assert busy.driver.logins == 2


def test_any_login_of_ours_shows_that_one_before_it_is_lost(busy: Stand) -> None:
    """A probe's, too: none is made for the purpose."""
    ended: list[float] = []

    async def scene(stand: Stand) -> None:
        opens(stand, ended)
        await asyncio.sleep(1.03)
        await stand.watch.connect(stand.database, 1.0)
        await asyncio.sleep(1)

    busy.play(scene)

    assert [round(one, 1) for one in ended] == [1.3]
    assert busy.driver.logins == 1


def test_what_is_late_after_a_question_does_not_wait_a_second_for_the_next(busy: Stand) -> None:
    async def scene(stand: Stand) -> None:
        stand.driver.waiting = {BACKEND: 30.0, BACKEND + 1: 30.0}
        sent(stand)
        await asyncio.sleep(0.3)
        second = sent(stand)
        second.backend = BACKEND + 1

        assert 1.0 < await until(lambda: second.cut) < 1.3

    busy.play(scene)


def test_a_login_that_has_been_told_to_end_is_told_so_once(busy: Stand) -> None:
    """Its end takes a moment, in which another of ours may be let in."""
    told: list[float] = []

    async def scene(stand: Stand) -> None:
        stand.database.connecting[1] = Opening(stand.clock.now, lambda: told.append(stand.clock.now))
        await asyncio.sleep(1.03)
        await stand.watch.connect(stand.database, 1.0)
        await stand.watch.connect(stand.database, 1.0)
        await asyncio.sleep(5)

    busy.play(scene)

    assert len(told) == 1


@pytest.mark.parametrize("latency", [0.6, 1.0, 3.0])
def test_a_server_that_takes_its_time_is_not_pressed(busy: Stand, latency: float) -> None:
    """Further logins beside ours are for those that are lost, not for those that are slow."""

    async def scene(stand: Stand) -> None:
        stand.driver.latency = latency
        await stand.watch.connect(stand.database, 10.0)
        stand.driver.most_under_way = 0
        while stand.clock.now < 1030.0:
            opens(stand, [])
            await asyncio.sleep(3)
            stand.database.connecting.clear()

    busy.play(scene)

    assert busy.driver.most_under_way <= 2


def test_a_server_that_has_become_slow_is_soon_not_pressed_any_more(busy: Stand) -> None:
    ended: list[float] = []

    async def scene(stand: Stand) -> None:
        await stand.watch.connect(stand.database, 10.0)
        stand.driver.latency = 1.5
        opens(stand, ended)
        await asyncio.sleep(5)

        assert stand.driver.most_under_way == 5
        stand.driver.most_under_way = 0
        await asyncio.sleep(20)

        assert stand.driver.most_under_way == 1

    busy.play(scene)

    assert ended == []


def test_a_server_that_refuses_our_login_is_asked_again_in_a_second(busy: Stand) -> None:
    """It speaks: nothing was lost that another could do better."""

    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.STARTS_UP)
        opens(stand, [])
        await asyncio.sleep(5)

    busy.play(scene)

    assert 3 <= busy.driver.logins <= 4
