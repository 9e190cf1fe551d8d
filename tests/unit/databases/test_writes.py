"""A server that takes no writes: one asks until it does, and whoever waits is told (DB-6, DB-8)."""

from __future__ import annotations

import asyncio

import pytest
from fake_driver import Mode
from stand import Stand, a_request

from holdfast.databases.database import Database
from holdfast.events import WritesRefused, WritesTaken
from jumping import until


async def refuse(stand: Stand) -> None:
    """A write is refused, and the server goes on to refuse them."""
    stand.driver.writable = False
    assert stand.database.refuses_writes(None)


def test_one_asks_until_it_takes_writes_and_connections_of_before_are_replaced(stand: Stand) -> None:
    woken: list[bool] = []

    async def scene(stand: Stand) -> None:
        idle, busy = stand.sent(), stand.sent(a_request())
        idle.out = False
        stand.heard(idle)
        generation = stand.database.generation
        await refuse(stand)
        stand.database.when_writable(lambda: woken.append(stand.database.takes_writes))
        await asyncio.sleep(5)
        assert (woken, stand.database.generation) == ([], generation)
        assert stand.driver.logins < 9
        stand.driver.writable = True
        assert await until(lambda: woken) < 1.2

        assert woken == [True]
        assert stand.database.generation == generation + 1
        assert idle.cut
        assert not busy.cut, "what it reads, it may read to the end"
        assert stand.database.settled

    stand.play(scene)

    assert [type(one) for one in stand.told] == [WritesRefused, WritesTaken]
    taken = stand.told[-1]
    assert isinstance(taken, WritesTaken)
    assert taken.refused_s == pytest.approx(5.0, abs=1.2)


def test_however_many_are_refused_one_asks(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        await refuse(stand)
        for _ in range(50):
            assert stand.database.refuses_writes(stand.sent())
            await asyncio.sleep(0.02)

        assert stand.driver.logins < 5

    stand.play(scene)


def test_while_it_is_away_nobody_asks_for_writes(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        await refuse(stand)
        await stand.lose()
        await asyncio.sleep(1)
        stand.driver.writable = True
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)
        assert await until(lambda: stand.database.takes_writes) < 1.2

    stand.play(scene)


def test_who_waits_no_more_is_not_woken(stand: Stand) -> None:
    woken: list[int] = []

    async def scene(stand: Stand) -> None:
        await refuse(stand)
        forget = stand.database.when_writable(lambda: woken.append(1))
        stand.database.when_writable(lambda: woken.append(2))
        forget()
        stand.driver.writable = True
        await until(lambda: stand.database.takes_writes)

    stand.play(scene)

    assert woken == [2]


def test_a_young_connection_that_is_refused_a_moment_later_is_its_applications_own(stand: Stand) -> None:
    """It began the transaction as read-only; an older one may still lead to the server of before."""

    async def scene(stand: Stand) -> None:
        old = stand.sent()
        await refuse(stand)
        stand.driver.writable = True
        await until(lambda: stand.database.takes_writes)

        assert not stand.database.refuses_writes(stand.sent())
        assert stand.database.takes_writes
        assert stand.database.refuses_writes(old)
        await until(lambda: stand.database.takes_writes)
        await asyncio.sleep(1.1)
        assert stand.database.refuses_writes(stand.sent())

    stand.play(scene)


def test_where_nobody_watches_its_connection_is_given_up(stand: Stand) -> None:
    alone = Database("alone", "postgresql://db/alone", stand.driver, stand.clock)
    link = stand.sent()

    assert not alone.refuses_writes(link)
    assert link.cut
    assert alone.takes_writes


def test_when_the_watch_goes_whoever_waits_is_let_go(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        await refuse(stand)
        stand.database.watched_by(None)

        assert stand.database.takes_writes

    stand.play(scene)
