"""How waiting ends: time is up, no room, we stop, the client leaves, it is cancelled (REQ-3, SHD-1)."""

from __future__ import annotations

import asyncio

import pytest
from asgi_stage import Client, Pool, away, back, turns
from lobby import Lobby

from holdfast.asgi.body import Body
from holdfast.asgi.door import Rules
from holdfast.asgi.line import Verdict
from holdfast.databases.database import Database
from holdfast.events import RequestHeld
from holdfast.policy.window import FIRST


def test_time_is_up_after_the_longest_wait(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()

        assert await lobby.comes("patient") is Verdict.TIMED_OUT
        assert lobby.clock.now == 1010.0
        lobby.assert_empty()

    lobby(story)


def test_of_those_that_are_written_down_who_came_first_goes_first(lobby) -> None:
    """JRN-2: whom the outage met inside begins to wait after others, and came before them."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        gone: list[str] = []
        waiting = []
        for name, at, patience in [("later", 999.0, 1.0), ("inside", 998.0, 2.0), ("held", 997.0, None)]:
            waiting.append(lobby.comes(name, arrived_at=at, patience=patience))
            waiting[-1].add_done_callback(lambda _, name=name: gone.append(name))
        await asyncio.wait(waiting[:2])

        assert gone == ["inside", "later"]
        assert lobby.clock.now == 1001.0
        assert await waiting[2] is Verdict.TIMED_OUT

    lobby(story)


def test_nobody_waits_past_the_deadline(lobby) -> None:
    """Property 18."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()

        assert await lobby.comes("short", deadline=3.0) is Verdict.TIMED_OUT
        assert lobby.clock.now == 1003.0

    lobby(story)


def test_the_wait_is_counted_over_all_of_a_requests_stays(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        request = lobby.request("twice")
        body = Body(request, Client().receive, 1000)
        request.held_for = 9.0
        await lobby.lose()

        assert await lobby.door.wait(lobby.database, request, body) is Verdict.TIMED_OUT
        assert lobby.clock.now == 1001.0
        assert request.held_for == 10.0
        assert await lobby.door.wait(lobby.database, request, body) is Verdict.TIMED_OUT
        assert lobby.clock.now == 1001.0

    lobby(story)


def test_the_room_is_bounded(lobby) -> None:
    """REQ-3, property 19."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(3)

        assert await lobby.comes("one too many") is Verdict.FULL
        assert lobby.door.waiting == 3
        assert len(lobby.told) == 3

    lobby(story, Rules(max_waiting=3))


def test_whom_the_outage_met_inside_finds_room_for_a_quarter_more(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(8)
        inside = [lobby.comes(f"inside-{number}", entered=True) for number in range(3)]
        await turns()

        assert [task.done() for task in inside] == [False, False, True]
        assert await inside[2] is Verdict.FULL
        assert await lobby.comes("new") is Verdict.FULL

    lobby(story, Rules(max_waiting=8))


def test_after_a_long_outage_new_requests_are_refused_at_once(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        away(lobby.database, since=lobby.clock.now - 60.1)
        await turns()

        assert await lobby.comes("late") is Verdict.OUTAGE_TOO_LONG
        assert lobby.clock.now == 1000.0
        assert lobby.told == []

    lobby(story)


def test_until_then_they_wait(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        away(lobby.database, since=lobby.clock.now - 59.9)
        await turns()
        waiting = lobby.comes("in time")
        await turns()

        assert not waiting.done()
        await lobby.recover()
        assert await waiting is Verdict.GO

    lobby(story)


def test_stopping_refuses_all_who_wait_and_all_who_come(lobby) -> None:
    """SHD-1."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        waiting = await lobby.come(5)

        lobby.door.close()

        assert await asyncio.gather(*waiting) == [Verdict.STOPPING] * 5
        assert await lobby.comes("new") is Verdict.STOPPING
        lobby.assert_empty()

    lobby(story)


def test_a_client_that_leaves_frees_its_place_at_once(lobby) -> None:
    """REQ-3: dropped, never run."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        waiting = lobby.comes("leaver")
        await turns()

        lobby.clients["leaver"].leave()

        assert await waiting is Verdict.GONE
        assert lobby.clock.now == 1000.0
        lobby.assert_empty()
        assert not (await lobby.come(1))[0].done()

    lobby(story, Rules(max_waiting=1))


def test_who_left_in_the_moment_of_its_turn_gives_it_back(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        request = lobby.request("leaver")
        client = Client()
        body = Body(request, client.receive, 1000)
        waiting = asyncio.ensure_future(lobby.door.wait(lobby.database, request, body))
        await turns()
        back(lobby.database)
        lobby.door._follow(lobby.database)  # its turn has come,
        body.hang_up()  # and before it runs, its client leaves

        assert await waiting is Verdict.GONE
        assert lobby.queue.going == 0

    lobby(story)


@pytest.mark.parametrize("at", ["waiting", "its turn has come", "it has timed out"])
def test_cancelling_leaks_neither_a_place_nor_a_turn(lobby, at: str) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        (waiting,) = await lobby.come(1)
        if at == "its turn has come":
            back(lobby.database)
            lobby.door._follow(lobby.database)
        elif at == "it has timed out":
            next(iter(lobby.queue)).settle(Verdict.TIMED_OUT)

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        lobby.assert_empty()

    lobby(story)


def test_a_turn_given_back_goes_to_the_next(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        waiting = await lobby.come(FIRST + 1)
        back(lobby.database)
        lobby.door._follow(lobby.database)

        waiting[0].cancel()
        await turns()

        assert lobby.went == ["1", "2", "3", "4"]

    lobby(story)


def test_a_database_found_later_is_listened_to(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        other = Database("orders", "db:5433", Pool(), lobby.clock)
        other.watched_by(lambda *_: None)
        away(other)
        request = lobby.request("first")
        waiting = asyncio.ensure_future(
            lobby.door.wait(other, request, Body(request, Client().receive, 1000))
        )
        await turns()
        assert lobby.door.waiting_for("orders") == 1
        assert lobby.door.waiting_for("main") == 0
        assert lobby.door.waiting_for("unheard of") == 0

        back(other)

        assert await waiting is Verdict.GO

    lobby(story)


def test_holding_is_told(lobby) -> None:
    """PRM-3."""

    async def story(lobby: Lobby) -> None:
        await lobby.lose()
        await lobby.come(1)

        held = RequestHeld(request_id="0", method="GET", path="/items", database="main")
        assert lobby.told == [held]

    lobby(story)


def test_a_door_that_is_left_hears_nothing_more(lobby) -> None:
    async def story(lobby: Lobby) -> None:
        undone: list[bool] = []
        lobby.door.leaves_with(lambda: undone.append(True))

        lobby.door.leave()
        await lobby.lose()

        assert undone == [True]
        assert not lobby.door.shut

    lobby(story)


def test_a_change_after_the_loop_has_ended_is_nobodys_business(clock, run) -> None:
    async def story() -> Lobby:
        return Lobby(clock)

    lobby = run(story())

    away(lobby.database)

    assert lobby.database.away
