"""Rests while a server takes no writes, or lets nobody in (REQ-4, REQ-3, ERR-2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from asgi_stage import Client, House, answers, ledger, turns

from holdfast.asgi.door import Rules as DoorRules
from holdfast.asgi.pausing import FULL
from holdfast.faults.verdicts import CROWDED, READ_ONLY, REFUSED
from holdfast.policy.replay import Commit

KEY = [(b"idempotency-key", b"k")]


class ServerError(Exception):
    """What a driver raises for a server that has answered."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def refuses_to_write(house: House) -> Exception:
    """What the hooks write when the first INSERT of a transaction is refused so."""
    one = ledger()
    one.sent += 1
    error = ServerError(READ_ONLY)
    one.fail(replace(REFUSED, code=READ_ONLY, lost=False), error)
    one.settle(Commit.ROLLED_BACK)
    if house.main.refuses_writes(None):
        one.read_only = house.main.name
    return error


def writes_from(house: House, moment: float) -> Any:
    """An application whose database takes writes from *moment* on, as the watch finds at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1
        if house.clock.now < moment:
            if house.main.takes_writes:
                house.main.watched_by(lambda *_: None)
                asyncio.get_running_loop().call_later(
                    moment - house.clock.now, house.main.writes_again, moment
                )
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
    assert house.writes.runs == 2, "it is tried again once it is of use"
    assert house.clock.now < 1005.1


def test_it_waits_no_longer_than_for_a_database_that_is_away(run, house: House) -> None:
    house.writes = writes_from(house, 1060.0)

    client = run(house.ask("POST", headers=KEY))

    assert (client.status, client.problem["code"]) == (503, "database_unavailable")
    assert 1009.0 < house.clock.now <= 1010.0


def test_after_a_long_time_without_writes_it_is_told_at_once(run, clock) -> None:
    """REQ-3: as in a long outage."""
    house = House(lambda scope, receive, send: house.writes(scope, receive, send), clock, door=DoorRules())
    house.clock = clock
    house.writes = writes_from(house, 1500.0)
    assert run(house.ask("POST", headers=KEY)).status == 503
    clock.now = 1100.0

    assert run(house.ask("POST", headers=KEY)).status == 503
    assert clock.now < 1100.1


def test_who_is_refused_again_and_again_is_told_in_time(run, house: House) -> None:
    """REQ-3: each time somebody finds that it takes writes, and each time it does not: attempts count."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1
        await asyncio.sleep(1.5)
        house.main.watched_by(lambda *_: None)
        error = refuses_to_write(house)
        asyncio.get_running_loop().call_soon(house.main.writes_again, 0.0)
        raise error

    app.runs = 0
    house.writes = app

    assert run(house.ask("POST", headers=KEY)).status == 503
    assert house.writes.runs == 7
    assert house.clock.now < 1011.0


def test_one_that_was_begun_as_read_only_by_its_application_is_told(run, house: House) -> None:
    """Nothing that waits would help: it is tried as often as any failure that may pass."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1
        raise refuses_to_write(house)  # nobody watches: so it is said

    app.runs = 0
    house.writes = app
    client = Client()

    with pytest.raises(ServerError):
        run(house.ask("POST", headers=KEY, client=client))

    assert (client.status, house.writes.runs) == (503, 3)
    assert house.clock.now < 1001.0


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
        one = ledger()
        one.attempts += 1
        one.fail(replace(CROWDED, code=FULL), error := ServerError(FULL))
        raise error

    house.writes = app

    async def story() -> list[Client]:
        clients = [Client() for _ in range(1500)]
        asking = (
            house.ask("POST", headers=[(b"idempotency-key", b"%d" % n)], client=client)
            for n, client in enumerate(clients)
        )
        await asyncio.gather(*asking, return_exceptions=True)
        return clients

    clients = run(story())

    again = at[1500:]
    assert {one.status for one in clients} == {503}
    assert all(later - earlier > 0.009 for earlier, later in pairwise(again))
    assert 900 < len(again) < 1100
