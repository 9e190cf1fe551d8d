"""When the turn of a request that was held goes to the next one (REQ-3, DB-6, PRM-1)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, House, answers, away, back, ledger, loses, turns

from holdfast.asgi.door import LONGEST_TURN_S
from holdfast.events import RequestRecovered

FIRST = 4  # turns that are out at once after an outage


class Lingering:
    """A shop in which some routes go on for long after their answer has begun to leave."""

    def __init__(self) -> None:
        self.house: House
        self.closing = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        ledger().databases.add("main")
        match scope["path"]:
            case "/events":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
                await self.closing.wait()
                await send({"type": "http.response.body", "body": b""})
            case "/silent":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await self.closing.wait()
                await send({"type": "http.response.body", "body": b""})
            case "/poll":
                await self.closing.wait()
                await answers(send)
            case "/mail":
                await answers(send, 202)
                await self.closing.wait()
            case _:
                await answers(send)


@pytest.mark.parametrize("path", ["/events", "/silent", "/mail"])
def test_what_goes_on_after_its_answer_began_keeps_nobody_waiting(run, clock, path) -> None:
    """REQ-3: streams and background tasks, as many as there are turns, and the database is well."""
    app = Lingering()
    app.house = house = House(app, clock)

    async def story() -> None:
        app.closing.set()
        for each in (path, "/orders"):
            await house.ask("GET", each)
        app.closing.clear()
        away(house.main)
        await turns()
        staying = [house.asks("GET", path) for _ in range(FIRST)]
        await turns()
        held = [house.asks("GET", "/orders") for _ in range(3)]
        await turns()
        back(house.main)
        await turns(20)

        assert [one.done() for one in held] == [True] * 3
        assert [one.done() for one in staying] == [False] * FIRST
        assert len(house.of(RequestRecovered)) == FIRST + 3
        late = await house.ask("GET", "/orders")
        assert late.status == 200
        app.closing.set()
        await asyncio.gather(*staying)

    run(story())

    line = house.door._lines["main"]
    assert (line.going, clock.now) == (0, 1000.0)
    assert len(house.of(RequestRecovered)) == FIRST + 3, "each is told once"


def test_who_lingers_before_its_answer_keeps_others_waiting_for_half_a_second(run, clock) -> None:
    """REQ-3: long polls, or slow reports, as many as there are turns."""
    app = Lingering()
    app.house = house = House(app, clock)

    async def story() -> None:
        app.closing.set()
        for each in ("/poll", "/orders"):
            await house.ask("GET", each)
        app.closing.clear()
        away(house.main)
        await turns()
        staying = [house.asks("GET", "/poll") for _ in range(FIRST)]
        await turns()
        held = [house.asks("GET", "/orders") for _ in range(3)]
        await turns()
        back(house.main)
        await asyncio.gather(*held)

        assert clock.now == 1000.0 + LONGEST_TURN_S
        assert [one.done() for one in staying] == [False] * FIRST
        app.closing.set()
        await asyncio.gather(*staying)

    run(story())

    assert house.door._lines["main"].going == 0, "each turn is given back once"


def test_each_turn_is_given_back_once_and_as_answered(run, clock, monkeypatch) -> None:
    """DB-6: the window learns from every answer, whether or not its request goes on after it."""
    app = Lingering()
    app.house = house = House(app, clock)
    given: list[bool] = []
    went = house.door.went

    def noted(database: Any, *, answered: bool) -> None:
        given.append(answered)
        went(database, answered=answered)

    monkeypatch.setattr(house.door, "went", noted)

    async def story() -> None:
        app.closing.set()
        await house.ask("GET", "/events")
        away(house.main)
        await turns()
        held = [house.asks("GET", "/events") for _ in range(3)]
        await turns()
        back(house.main)
        await asyncio.gather(*held)

    run(story())

    assert given == [True] * 3


def test_an_answer_that_may_yet_be_discarded_keeps_its_turn(run, clock) -> None:
    """REQ-4: it is complete and kept back, and its request may be run again."""
    losing: list[bool] = []
    going: list[int] = []
    deciding = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().databases.add("main")
        if losing and not going:
            loses(house.main)
            await answers(send, 409)
            going.append(house.door._lines["main"].going)
            await deciding.wait()
        else:
            await answers(send)

    house = House(app, clock)

    async def story() -> Client:
        await house.ask("GET")
        away(house.main)
        await turns()
        losing.append(True)
        asking = house.asks("GET")
        await turns()
        back(house.main)
        await turns(20)
        assert going == [1]
        assert house.door._lines["main"].going == 1
        deciding.set()
        return await asking

    assert run(story()).status == 200
    assert house.door._lines["main"].going == 0
