"""Rests between attempts while a server takes no writes (REQ-4, REQ-3, ERR-2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from asgi_stage import Client, House, answers, ledger, loses, turns

from holdfast.asgi.pausing import FULL, READ_ONLY
from holdfast.faults.verdicts import CROWDED, REFUSED
from holdfast.policy.replay import Commit

KEY = [(b"idempotency-key", b"k")]


def refuses_to_write(house: House) -> Exception:
    """What the hooks write when the first INSERT of a transaction is refused so."""
    error = loses(house.main)
    one = ledger()
    one.fail(replace(REFUSED, code=READ_ONLY), error)
    one.settle(Commit.ROLLED_BACK)
    return error


def writes_from(house: House, moment: float) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1
        if house.clock.now < moment:
            raise refuses_to_write(house)
        await answers(send, 201)

    app.runs = 0
    return app


@pytest.fixture
def house(clock) -> House:
    one = House(lambda scope, receive, send: one.writes(scope, receive, send), clock)
    one.clock = clock
    return one


def test_a_keyed_write_waits_until_the_server_takes_it(run, house: House) -> None:
    house.writes = writes_from(house, 1005.0)

    client = run(house.ask("POST", headers=KEY))

    assert client.status == 201
    assert 5 < house.writes.runs < 40
    assert house.clock.now < 1006.0


def test_it_waits_no_longer_than_for_a_database_that_is_away(run, house: House) -> None:
    house.writes = writes_from(house, 1060.0)

    client = run(house.ask("POST", headers=KEY))

    assert (client.status, client.problem["code"]) == (503, "database_unavailable")
    assert 1009.0 < house.clock.now <= 1010.0


def test_without_a_key_it_is_told_at_once(run, house: House) -> None:
    house.writes = writes_from(house, 1005.0)

    client = run(house.ask("POST"))

    assert client.status == 503
    assert house.writes.runs == 1


def test_when_we_stop_it_is_told_at_once(run, house: House) -> None:
    house.writes = writes_from(house, 1060.0)

    async def story() -> Client:
        asking = house.asks("POST", headers=KEY)
        await asyncio.sleep(2.0)
        house.door.close()
        return await asking

    client = run(story())

    assert client.status == 503
    assert house.clock.now < 1003.0


def test_one_whose_client_leaves_is_dropped(run, house: House) -> None:
    house.writes = writes_from(house, 1060.0)
    client = Client()

    async def story() -> None:
        asking = house.asks("POST", headers=KEY, client=client)
        await asyncio.sleep(2.0)
        client.leave()
        await turns()
        await asyncio.wait([asking], timeout=1.0)
        assert asking.done()

    run(story())

    assert client.sent == []
    assert house.clock.now < 1003.5


def test_a_full_server_is_waited_for_as_well(run, house: House) -> None:
    """53300 at a login: nothing was sent, so anybody may wait."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if house.clock.now < 1005.0:
            one = ledger()
            one.attempts += 1
            one.fail(replace(CROWDED, code=FULL), error := OSError("too many clients already"))
            raise error
        await answers(send, 201)

    house.writes = app

    assert run(house.ask("POST")).status == 201
    assert 1005.0 <= house.clock.now < 1006.0


def test_however_many_rest_their_attempts_are_apart(run, house: House) -> None:
    """A full server would do nothing but refuse logins; who would come too late is told at once."""
    at: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        at.append(house.clock.now)
        raise refuses_to_write(house)

    house.writes = app

    async def story() -> list[Client]:
        return await asyncio.gather(
            *(house.ask("POST", headers=[(b"idempotency-key", b"%d" % n)]) for n in range(1500))
        )

    clients = run(story())

    again = at[1500:]
    assert {one.status for one in clients} == {503}
    assert all(later - earlier > 0.009 for earlier, later in pairwise(again))
    assert 900 < len(again) < 1100
