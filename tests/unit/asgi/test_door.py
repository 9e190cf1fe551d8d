"""The door: who waits, who goes, who is refused, and that nothing is leaked (REQ-3, DB-6, PRF-4)."""

from __future__ import annotations

import pytest
from asgi_stage import suspect, turns
from lobby import Lobby

from holdfast.asgi.cores import OneCore
from holdfast.asgi.line import APART_AFTER, LARGEST_WINDOW, Verdict
from holdfast.databases.monitor import Connected, Drained
from holdfast.policy.window import FIRST, ROUND, TURNS


def test_the_door_is_open_while_the_database_answers(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        assert not lobby.door.shut
        assert lobby.door.first_shut(["main", "unheard of"]) is None

    lobby(story)


def test_it_shuts_with_the_outage_and_opens_when_the_last_has_gone(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        assert lobby.door.shut
        assert lobby.door.first_shut(["main"]) is lobby.database
        await lobby.come(FIRST + 1)

        await lobby.recover()
        assert lobby.door.shut  # one still waits, and whoever comes now stands behind it
        lobby.door.went(lobby.database, answered=True)
        await turns()

        assert len(lobby.went) == FIRST + 1
        assert not lobby.door.shut
        assert isinstance(lobby.reports[-1], Drained)

    lobby(story)


def test_they_go_in_order_of_arrival(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        for name, at in [("second", 990.0), ("fourth", 999.0), ("first", 980.0), ("third", 995.0)]:
            lobby.comes(name, arrived_at=at)
        await turns()

        await lobby.recover()

        assert lobby.went == ["first", "second", "third", "fourth"]

    lobby(story)


def test_those_who_arrived_together_go_in_the_order_they_came(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(4)
        await lobby.recover()

        assert lobby.went == ["0", "1", "2", "3"]

    lobby(story)


def test_the_window_starts_small_and_opens_while_the_process_is_idle(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(100)
        await lobby.recover()

        seen = [lobby.queue.going]
        for _ in range(4):
            lobby.answer(ROUND + 1)
            await turns()
            seen.append(lobby.queue.going)

        assert seen == [4, 8, 16, 16, 20]  # a round is as long as the window is wide

    lobby(story, pool=20)


def test_the_window_stays_small_while_the_process_computes(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(100)
        await lobby.recover()
        lobby.answer(60, busy=0.9)
        await turns()

        assert len(lobby.went) == FIRST + 60
        assert lobby.queue.going == FIRST

    lobby(story, pool=20)


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> OneCore:
    """Asked as the process's own is; nothing is confined."""
    monkeypatch.setattr("holdfast.asgi.cores.confine", lambda: None)
    one_core = OneCore()
    monkeypatch.setattr("holdfast.asgi.door.ONE_CORE", one_core)
    return one_core


def test_threads_that_take_turns_empty_the_line_on_one_core(lobby, one_core: OneCore) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(40)
        await lobby.recover()
        lobby.answer(ROUND, busy=1.0, waits=TURNS)
        assert not one_core.asked
        lobby.answer(1, busy=1.0, waits=TURNS)
        assert one_core.asked

        lobby.answer(40 - FIRST - ROUND - 2, busy=1.0, waits=TURNS)
        assert len(lobby.queue) == 1
        assert one_core.asked
        lobby.answer(1, busy=1.0, waits=TURNS)
        assert len(lobby.queue) == 0
        assert not one_core.asked

    lobby(story)


@pytest.mark.parametrize("end", ["lost again", "left"])
def test_they_are_let_apart_when_the_line_stops(lobby, one_core: OneCore, end: str) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(40)
        await lobby.recover()
        lobby.answer(ROUND + 1, busy=1.0, waits=TURNS)
        assert one_core.asked

        if end == "left":
            lobby.door.leave()
        else:
            await lobby.lose()

        assert not one_core.asked

    lobby(story)


def test_a_failure_gives_its_turn_back_and_the_window_does_not_grow(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(10)
        await lobby.recover()

        lobby.door.went(lobby.database, answered=False)
        await turns()

        assert len(lobby.went) == FIRST + 1
        assert lobby.queue.going == FIRST

    lobby(story)


@pytest.mark.parametrize(
    ("pool", "largest"), [(1, FIRST), (20, 20), (500, LARGEST_WINDOW), (0, LARGEST_WINDOW)]
)
def test_the_window_ends_at_what_the_pool_serves(lobby, pool: int, largest: int) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(200)
        await lobby.recover()
        lobby.answer(100)
        await turns()

        assert lobby.queue.going == largest

    lobby(story, pool=pool)


def test_a_second_outage_starts_small_again(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(60)
        await lobby.recover()
        lobby.answer(10)
        await turns()
        gone = len(lobby.went)
        await lobby.lose()
        while lobby.queue.going:
            lobby.door.went(lobby.database, answered=False)
        await turns()
        assert len(lobby.went) == gone

        await lobby.recover()

        assert len(lobby.went) == gone + FIRST

    lobby(story, pool=20)


def test_whoever_comes_a_second_after_the_outage_hardly_waits(lobby) -> None:
    """Every third turn; the others go to those in line, in their order (REQ-3)."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(100)
        await lobby.recover()
        lobby.comes("soon")  # stands behind those in line
        lobby.answer(40, busy=1.0)
        lobby.clock.now += APART_AFTER
        lobby.clock.computed += APART_AFTER
        for name in ("late 1", "late 2"):
            lobby.comes(name)
        await turns()
        gone = len(lobby.went)

        lobby.answer(7, busy=1.0)
        await turns()

        went = lobby.went[gone:]
        assert [name for name in went if "late" in name] == ["late 1", "late 2"]
        assert [name for name in went if "late" not in name] == [str(gone + number) for number in range(5)]
        assert went.index("late 1") < 3

    lobby(story)


def test_should_it_be_lost_again_all_stand_in_one_line(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(10)
        await lobby.recover()
        lobby.clock.now += APART_AFTER + 1
        lobby.comes("late")
        await turns()
        await lobby.lose()
        while lobby.queue.going:
            lobby.door.went(lobby.database, answered=False)
        assert lobby.door.waiting_for("main") == 7

        await lobby.recover()
        lobby.answer(10, busy=1.0)
        await turns()

        assert lobby.went[FIRST:] == [*map(str, range(FIRST, 10)), "late"]

    lobby(story)


def test_what_can_be_written_down_keeps_its_order(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(10)
        await lobby.recover()
        lobby.clock.now += APART_AFTER + 1
        lobby.comes("order", patience=5.0)
        lobby.comes("read")
        await turns()

        lobby.answer(10, busy=1.0)
        await turns()

        assert lobby.went[-1] == "order"
        assert lobby.went.index("read") < FIRST + 3

    lobby(story)


def test_while_threads_crowd_the_pool_nobody_follows_them(lobby) -> None:
    """What gives a connection back needs a thread, too."""

    async def story(lobby: Lobby) -> None:
        lobby.database.driver.crowd = True
        waiting = await lobby.come(3)
        assert lobby.door.shut
        assert lobby.door.first_shut(["main"]) is lobby.database
        assert not any(one.done() for one in waiting)

        lobby.database.driver.crowd = False

        assert [await one for one in waiting] == [Verdict.GO] * 3
        assert not lobby.door.shut

    lobby(story)


def test_while_only_suspected_nobody_goes(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        suspect(lobby.database)
        waiting = lobby.comes("first")
        await turns()
        assert not waiting.done()

        lobby.database.become(Connected(9, lobby.clock.now))

        assert await waiting is Verdict.GO

    lobby(story)
