"""Whether a request may still enter the application: the process stops, or has slept (SHD-1, PRF-8)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_stage import Client, House, answers, reads, turns

from holdfast.asgi.absence import Absence
from holdfast.asgi.journal_run import SCOPE_KEY as RERUN
from holdfast.asgi.journal_run import Rerun
from holdfast.events import RequestAbandoned


class Counting:
    """An application that answers and counts."""

    def __init__(self) -> None:
        self.runs = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        await reads(receive)
        await answers(send)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("locked", [False, True])
def test_whoever_comes_is_served_until_the_application_shuts_down(run, clock, method, locked) -> None:
    """SHD-1: its database was not away, so nobody asked the door; in a shut-down application it ran."""
    app = Counting()
    house = House(app, clock)

    async def story() -> Client:
        house.door.close()
        if locked:
            house.door.lock()
        return await house.ask(method)

    client = run(story())

    assert (client.status, app.runs) == ((503, 0) if locked else (200, 1))
    if locked:
        assert client.problem["code"] == "shutting_down"
        assert client.headers["connection"] == "close"


def test_over_http_2_a_connection_is_not_spoken_of(run, clock) -> None:
    house = House(Counting(), clock)

    async def story() -> Client:
        house.door.lock()
        return await house.ask(http_version="2")

    assert "connection" not in run(story()).headers


def test_a_body_that_is_still_coming_does_not_let_it_in_later(run, clock) -> None:
    """SHD-1: the shutdown begins while the body of a request with a key is read."""
    app = Counting()
    house = House(app, clock)
    client = Client()
    client.inbox.get_nowait()

    async def story() -> None:
        key = [(b"idempotency-key", b"k-1")]
        asking = house.asks("POST", headers=key, client=client)
        await turns()
        assert not asking.done()
        house.door.lock()
        client.give(b"late")
        await asking

    run(story())

    assert (client.status, app.runs) == (503, 0)
    assert client.problem["code"] == "shutting_down"


def test_what_the_journal_runs_is_ended_by_its_own_stop(run, clock) -> None:
    """SHD-1: it ends before the application's shutdown; refused here, it would wait for the next process."""
    app = Counting()
    house = House(app, clock)

    async def story() -> Client:
        house.door.lock()
        entry: Any = SimpleNamespace(new=SimpleNamespace(key="k-1", headers=()))
        return await house.ask(**{RERUN: Rerun(entry)})

    assert run(story()).status == 200


def test_the_lock_is_not_lifted_by_a_database_that_comes_back(run, clock) -> None:
    house = House(Counting(), clock)

    async def story() -> Client:
        loop = asyncio.get_running_loop()
        house.door.lock()
        house.door.open_for(house.registry, loop)
        return await house.ask()

    assert run(story()).status == 503


# ── the loop has been away ───────────────────────────────────────────────────────────────────────


async def slept(house: House, seconds: float) -> None:
    """The house's loop has been away for so long."""
    house.replay.absence = Absence(house.clock.monotonic)
    house.replay.absence.follow(asyncio.get_running_loop())
    house.clock.now += seconds


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("size", [10, 200_000])
def test_nobody_runs_what_was_sent_while_we_slept_by_clients_that_left(run, clock, method, size) -> None:
    """PRF-8: writes that land after their client left: 0. A read harms nobody."""
    app = Counting()
    house = House(app, clock)
    client = Client(*[b"x" * min(size, 40_000)] * max(1, size // 40_000))
    client.leave()

    async def story() -> None:
        await slept(house, 9.0)
        await house.ask(method, client=client)

    run(story())

    assert app.runs == (0 if method == "POST" else 1)
    assert len(house.of(RequestAbandoned)) == (1 if method == "POST" else 0)
    assert (client.sent == []) == (method == "POST")


def test_the_end_of_a_connection_is_waited_for_a_moment(run, clock) -> None:
    """PRF-8: the server comes to it after the request that lies before it."""
    app = Counting()
    house = House(app, clock)
    client = Client()

    async def story() -> None:
        await slept(house, 9.0)
        asyncio.get_running_loop().call_later(0.02, client.leave)
        await house.ask("POST", client=client)

    run(story())

    assert (app.runs, client.sent) == (0, [])


@pytest.mark.parametrize("parts", [(b"",), (b"one ", b"two"), (b"x" * 60_000,) * 30])
def test_whoever_still_waits_after_that_is_served(run, clock, parts) -> None:
    app = Counting()
    house = House(app, clock)

    async def story() -> Client:
        await slept(house, 9.0)
        return await house.ask("POST", client=Client(*parts))

    assert run(story()).status == 200
    assert app.runs == 1


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_while_the_loop_is_there_nobody_is_asked(run, clock, seconds) -> None:
    house = House(Counting(), clock)
    client = Client()

    async def story() -> None:
        await slept(house, seconds)
        await house.ask("POST", client=client)

    run(story())

    assert client.reads == 1
    assert clock.now == 1000.0 + seconds
