"""Requests that wait, inside and before the application, and what is told of it (REQ-3, REQ-6, LOG-5)."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest
from asgi_stage import Client, House, answers, away, back, ledger, loses, turns
from failing import Failing, housed

from holdfast.asgi.door import Rules as DoorRules
from holdfast.context import REQUEST
from holdfast.events import (
    RequestAbandoned,
    RequestHeld,
    RequestRecovered,
    RequestRefused,
    RequestReplayed,
)

# ── waiting ──────────────────────────────────────────────────────────────────────────────────────


class Shop:
    """An application that needs its database: fails while it is away, else answers."""

    def __init__(self) -> None:
        self.runs = 0
        self.house: House

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        ledger().databases.add("main")
        if self.house.main.away:
            raise loses(self.house.main, sent=0)
        await answers(send)


def test_the_database_vanishes_underneath_and_the_request_waits_for_it(run, clock) -> None:
    app = Shop()
    house = housed(app, clock)

    async def story() -> Client:
        away(house.main)
        asking = house.asks("POST")
        await turns()
        assert not asking.done()
        await asyncio.sleep(4)
        back(house.main)
        return await asking

    client = run(story())

    assert (client.status, app.runs, clock.now) == (200, 2, 1004.0)
    assert len(house.of(RequestHeld)) == 1
    assert len(house.of(RequestReplayed)) == 1
    (recovered,) = house.of(RequestRecovered)
    assert (recovered.status, recovered.held_s) == (200, 4.0)


def test_a_route_known_to_need_it_waits_before_it_enters(run, clock) -> None:
    """REQ-3: learned from what its requests used."""
    app = Shop()
    house = housed(app, clock)

    async def story() -> Client:
        await house.ask("GET", "/items/1")
        away(house.main)
        await turns()
        asking = house.asks("GET", "/items/2")
        await asyncio.sleep(1)
        assert app.runs == 1
        back(house.main)
        return await asking

    assert run(story()).status == 200
    assert app.runs == 2
    assert house.of(RequestReplayed) == []


def test_a_refused_form_says_nothing_of_what_its_route_needs(run, clock) -> None:
    """REQ-3: the first order was no order and never came to the database; the second tells."""
    statuses = iter([422, 201])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = next(statuses)
        if status == 201:
            ledger().databases.add("main")
        await answers(send, status)

    house = housed(app, clock)

    async def story() -> None:
        await house.ask("POST", "/orders")
        await house.ask("POST", "/orders")

    run(story())

    assert house.replay.needs.of("POST", "/orders") == {"main"}


def test_other_routes_pass_while_it_is_away(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send)

    house = House(app, clock)

    async def story() -> Client:
        await house.ask("GET", "/about")
        away(house.main)
        await turns()
        return await house.ask("GET", "/about")

    assert run(story()).status == 200
    assert clock.now == 1000.0


def test_who_waits_too_long_is_told(run, clock) -> None:
    """REQ-6: 503 with Retry-After, ERR-3's body, and nothing of ours in it."""
    app = Shop()
    house = housed(app, clock)

    async def story() -> Client:
        away(house.main)
        return await house.ask("GET", "/items/7")

    client = run(story())

    assert clock.now == 1010.0
    assert client.status == 503
    assert client.headers["content-type"] == "application/problem+json"
    retry_after = client.problem.pop("retryAfter")
    assert client.headers["retry-after"] == str(retry_after)
    assert 5 <= retry_after <= 6  # half as long as the outage so far
    assert {key: client.problem[key] for key in ("code", "status", "instance", "category", "requestId")} == {
        "code": "database_unavailable",
        "status": 503,
        "instance": "/items/7",
        "category": "database_connection",
        "requestId": client.headers["x-request-id"],
    }
    (refused,) = house.of(RequestRefused)
    assert (refused.code, refused.held_s) == ("database_unavailable", 10.0)


def test_in_development_a_refusal_says_which_database_and_why(run, clock) -> None:
    """ERR-4; in production nothing of it leaves."""

    async def story(house: House) -> Client:
        away(house.main)
        return await house.ask("GET", "/items/7")

    told = run(story(housed(Shop(), clock, production=False))).problem
    kept = run(story(housed(Shop(), clock))).problem

    assert told["debug"].splitlines()[0] == "database 'main' (db:5432): refused"
    assert "  at " in told["debug"]
    assert "debug" not in kept


def test_who_waits_too_long_inside_is_refused_once_and_recovers_never(run, clock) -> None:
    """PRM-3: one refusal, told as that; and what its attempt logged may be read now."""
    house = housed(Shop(), clock)

    async def story() -> Client:
        away(house.main)
        return await house.ask()

    client = run(story())

    assert [type(one) for one in house.told] == [RequestHeld, RequestRefused]
    assert house.counted.answers == [("GET", 503)]
    assert house.counted.released == [client.headers["x-request-id"]]
    assert house.counted.forgotten == []


def test_a_full_room_is_told_as_such(run, clock) -> None:
    house = housed(Shop(), clock, door=DoorRules(max_waiting=0))

    async def story() -> Client:
        away(house.main)
        return await house.ask()

    client = run(story())

    assert (client.status, client.problem["code"]) == (503, "waiting_room_full")
    assert clock.now == 1000.0


def test_after_a_long_outage_the_answer_comes_at_once(run, clock) -> None:
    house = housed(Shop(), clock)

    async def story() -> Client:
        away(house.main, since=clock.now - 61)
        return await house.ask()

    client = run(story())

    assert (client.status, clock.now) == (503, 1000.0)
    assert client.headers["retry-after"] == "30"


def test_who_waits_when_we_stop_is_told(run, clock) -> None:
    house = housed(Shop(), clock)

    async def story() -> Client:
        away(house.main)
        asking = house.asks()
        await turns()
        house.door.close()
        return await asking

    client = run(story())

    assert (client.status, client.problem["code"]) == (503, "shutting_down")


@pytest.mark.parametrize("cut", [False, True])
def test_whose_connection_was_cut_by_the_stop_does_not_run_again(run, clock, cut) -> None:
    """SHD-1: its thread would wait on another connection, and keep the process. Before that it may."""

    class Stopped(Failing):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            self.house.door.close()
            self.house.door.cutting = cut
            await super().__call__(scope, receive, send)

    app = Stopped()
    house = housed(app, clock)
    client = run(house.ask())

    assert (client.status, app.runs) == ((503, 1) if cut else (200, 2))
    assert not cut or client.problem["code"] == "shutting_down"


@pytest.mark.parametrize("entered", [False, True], ids=["before it entered", "from inside"])
def test_a_client_that_leaves_is_dropped_and_nothing_is_run(run, clock, entered) -> None:
    """REQ-3: nobody executes orders whose clients left long ago."""
    app = Shop()
    house = housed(app, clock)
    client = Client()

    async def story() -> None:
        if not entered:
            await house.ask()
        away(house.main)
        await turns()
        runs = app.runs
        asking = house.asks(client=client)
        await turns()
        client.leave()
        await asking
        back(house.main)
        await turns()
        assert app.runs == runs + entered

    run(story())

    assert client.sent == []
    assert clock.now == 1000.0
    assert [type(one) for one in house.told] == [RequestHeld, RequestAbandoned]


def test_turns_are_given_back_however_it_ends(run, clock) -> None:
    """A leaked turn would narrow the window for good."""
    app = Shop()
    house = housed(app, clock)

    async def story() -> None:
        for _ in range(20):
            away(house.main)
            await turns()
            asking = [house.asks() for _ in range(10)]
            await turns()
            asking[0].cancel()
            back(house.main)
            await asyncio.gather(*asking, return_exceptions=True)
        assert house.door._lines["main"].going == 0
        assert house.door.waiting == 0

    run(story())

    assert house.replay.live == set()


@pytest.mark.slow
def test_a_request_that_waits_costs_less_than_sixteen_kibibytes(run, clock) -> None:
    """PRF-5, property 19: its body included, as long as that is short."""
    count = 300
    house = housed(Shop(), clock)

    async def story() -> float:
        away(house.main)
        await turns()
        await waited(1)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        asking = await waited(count)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        house.door.close()
        await asyncio.gather(*asking)
        return (after - before) / count

    async def waited(number: int) -> list[asyncio.Task[Client]]:
        asking = [house.asks("POST", client=Client(b"x" * 500)) for _ in range(number)]
        await turns()
        assert house.door.waiting >= number
        return asking

    assert run(story()) < 16 * 1024


@pytest.mark.parametrize("unread", [0, 3])
def test_a_large_order_whose_client_left_is_not_run(run, clock, unread) -> None:
    """REQ-3: however much of it is still to be read; and its turn is the next one's."""
    app = Shop()
    house = housed(app, clock)

    async def story() -> None:
        await house.ask("POST")
        away(house.main)
        await turns()
        client = Client(b"x" * 70_000, *[b"y" * 70_000] * unread)
        asking = house.asks("POST", client=client)
        await turns()
        client.leave()
        await turns()
        back(house.main)
        await asking
        assert client.sent == []
        assert (await house.ask("POST")).status == 200

    run(story())

    assert app.runs == 2
    assert len(house.of(RequestAbandoned)) == 1
    assert house.door._lines["main"].going == 0


# ── records ──────────────────────────────────────────────────────────────────────────────────────


def test_what_a_replayed_attempt_logged_is_forgotten(run, clock) -> None:
    """LOG-5: tracebacks of attempts that are replayed are not printed."""
    app = Failing()
    house = housed(app, clock)
    client = run(house.ask("GET"))

    assert house.counted.forgotten == [client.headers["x-request-id"]]


def test_what_the_last_attempt_logged_is_told(run, clock) -> None:
    app = Failing(times=100)
    house = housed(app, clock)
    client = run(house.ask("GET"))

    assert house.counted.released == [client.headers["x-request-id"]]
    assert house.counted.answers == [("GET", 503)]


def test_the_request_is_in_context_in_every_attempt(run, clock) -> None:
    """Property 15: one id through all of them."""
    ids = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = REQUEST.get()
        assert request is not None
        ids.append((request.id, request.attempt))
        if len(ids) < 3:
            raise loses(house.main)
        await answers(send)

    house = House(app, clock)
    client = run(house.ask(headers=[(b"x-request-id", b"trace-1")]))

    assert ids == [("trace-1", 1), ("trace-1", 2), ("trace-1", 3)]
    assert client.headers["x-request-id"] == "trace-1"
