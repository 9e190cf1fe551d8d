"""Whether a request may still enter the application while the process stops (SHD-1)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_stage import Client, House, answers, reads, turns

from holdfast.asgi.journal_run import SCOPE_KEY as RERUN
from holdfast.asgi.journal_run import Rerun


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
