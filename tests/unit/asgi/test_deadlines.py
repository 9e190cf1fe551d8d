"""No request outlives its deadline (REQ-2, property 18)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, House, answers, away, loses, turns

from holdfast.asgi.deadlines import GRACE_S

MOBILE = (b"user-agent", b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) Mobile/15E148 Safari/604.1")


async def sleeper(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(3600)
    await answers(send)


@pytest.mark.parametrize(("headers", "seconds"), [([], 30.0), ([MOBILE], 60.0)], ids=["desktop", "mobile"])
def test_past_it_the_answer_is_504(run, clock, headers, seconds) -> None:
    house = House(sleeper, clock)

    client = run(house.ask("GET", headers=headers))

    assert (client.status, client.problem["code"]) == (504, "deadline_exceeded")
    assert clock.now == pytest.approx(1000.0 + seconds, abs=0.01)
    assert house.counted.answers == [("GET", 504)]


def test_the_attempt_is_cancelled_and_can_clean_up(run, clock) -> None:
    cleaned = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.1)  # its rollback
            cleaned.append(clock.now)

    client = run(House(app, clock).ask())

    assert client.status == 504
    assert cleaned == [pytest.approx(1030.1, abs=0.01)]


def test_an_application_that_swallows_cancellation_loses_the_right_to_answer(run, clock) -> None:
    answered_at = []

    class Watched(Client):
        async def send(self, message: Any) -> None:
            answered_at.append(clock.now)
            await super().send(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
        await answers(send)

    client = run(House(app, clock).ask(client=Watched()))

    assert client.status == 504
    assert answered_at == [pytest.approx(1030 + GRACE_S, abs=0.01)] * 2
    assert clock.now == pytest.approx(1040, abs=0.5)


def test_an_application_that_answers_its_cancellation_is_too_late(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await answers(send, 500, b"interrupted")

    client = run(House(app, clock).ask())

    assert client.status == 504


@pytest.mark.parametrize("answered", [None, 200], ids=["ends", "answers"])
def test_one_that_ends_while_ours_is_being_made_is_answered_once(run, clock, answered) -> None:
    """REQ-2: its CORS headers are asked for meanwhile, and a server takes no second answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "OPTIONS":
            await asyncio.sleep(0.2)
            await answers(send)
            return
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(GRACE_S + 0.1)
            if answered is None:
                raise
        await answers(send, answered)

    async def story() -> Client:
        client = await house.ask(headers=[(b"origin", b"https://shop.example")])
        await asyncio.sleep(1)
        return client

    house = House(app, clock)
    client = run(story())

    assert [one["type"] for one in client.sent] == ["http.response.start", "http.response.body"]
    assert client.status == (answered or 504)
    assert house.counted.answers == [("GET", client.status)]


def test_a_stream_that_has_begun_has_answered_in_time(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(5):
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.sleep(20)
        await send({"type": "http.response.body", "body": b""})

    client = run(House(app, clock).ask())

    assert (client.status, client.body) == (200, b".....")
    assert clock.now == 1100.0


def test_a_replayed_attempt_has_the_same_deadline(run, clock) -> None:
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(clock.now)
        await asyncio.sleep(20)
        if len(runs) == 1:
            raise loses(house.main)
        await answers(send)

    house = House(app, clock)
    client = run(house.ask())

    assert (client.status, runs) == (504, [1000.0, 1020.0])
    assert clock.now == pytest.approx(1030.0, abs=0.01)


def test_waiting_counts(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise loses(house.main, sent=0)

    house = House(app, clock, timeout=3.0)

    async def story() -> Client:
        away(house.main)
        return await house.ask()

    client = run(story())

    assert client.status in (503, 504)
    assert clock.now == pytest.approx(1003.0, abs=0.01)


def test_a_cancellation_that_is_not_the_deadlines_goes_on(run, clock) -> None:
    """SHD-1: the server cancels what is left, and awaits it."""
    client = Client()

    async def story() -> None:
        asking = House(sleeper, clock).asks(client=client)
        await turns()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run(story())

    assert client.sent == []


def test_requests_of_one_length_share_a_timer(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1)
        await answers(send)

    async def story() -> int:
        house = House(app, clock)
        asking = [house.asks() for _ in range(50)]
        await turns()
        loop = asyncio.get_running_loop()
        timers = sum(1 for one in loop._scheduled if not one.cancelled())
        await asyncio.gather(*asking)
        return timers - 50  # each application sleeps with one of its own

    assert run(story()) == 1


def test_each_ends_at_its_own_moment(run, clock) -> None:
    async def story() -> list[float]:
        house = House(sleeper, clock)
        ended = []

        async def one(after: float) -> None:
            await asyncio.sleep(after)
            await house.ask()
            ended.append(round(clock.now - 1000, 2))

        await asyncio.gather(*(one(after) for after in (0, 1, 2.5, 40)))
        assert house.deadlines._live == {30.0: {}}
        return ended

    assert run(story()) == [30.0, 31.0, 32.5, 70.0]
