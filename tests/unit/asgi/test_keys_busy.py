"""Keys of a database that is there and has no time to say: asked again while one may wait (REQ-5, REQ-3)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, House, turns
from journal_house import JournalHouse
from key_stage import KEY, Memory, Shop, order, shop

from holdfast.asgi.postponing import Postponing
from holdfast.events import RequestAbandoned, RequestHeld
from holdfast.faults.verdicts import CROWDED
from holdfast.work.events import AnswersNotKept


class Told(Exception):
    """What a server says of a question, with its SQLSTATE."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.sqlstate = code


def full(times: int = 10_000, code: str = "53300") -> list[Exception]:
    return [Told(code) for _ in range(times)]


def spoilt_by(_store: Memory, error: Exception) -> bool:
    """What the real table would say: what stands in class 42 speaks against it."""
    return isinstance(error, Told) and error.sqlstate.startswith("42")


@pytest.fixture
def app(clock, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(Memory, "spoilt_by", spoilt_by)
    return shop(clock)


@pytest.mark.parametrize("code", ["53300", "40001", "26000", "42P05"])
def test_what_passes_is_waited_out(run, clock, app, code: str) -> None:
    """A full server; a pooler of transactions, behind which what was prepared is elsewhere."""
    app.store.fails = full(3, code)

    async def story() -> Client:
        return await order(app)

    client = run(story())

    assert (client.status, app.runs, app.store.causes) == (201, 1, [])
    assert 1000.1 < clock.now < 1000.2  # 20, 40 and 80 ms, less some jitter
    assert len(app.house.of(RequestHeld)) == 1


def test_so_is_a_table_that_cannot_be_made_yet(run, clock, app, monkeypatch: pytest.MonkeyPatch) -> None:
    app.store.usable = False
    fails = full(2)
    whole = Memory.prepare

    async def prepare(store: Memory) -> bool:
        if fails:
            raise fails.pop()
        return await whole(store)

    async def prepared(_keys: Any, store: Memory) -> bool:
        return await store.prepare()

    monkeypatch.setattr(Memory, "prepare", prepare)
    monkeypatch.setattr(type(app.house.replay.keys), "_prepared", prepared)

    async def story() -> Client:
        return await order(app)

    assert run(story()).status == 201
    assert app.store.prepared == 1


def test_it_is_asked_for_all_who_wait_at_once_and_ever_more_rarely(run, clock, app) -> None:
    """One login at a time, and not one for each request: a full server has more to do than refuse us."""
    app.store.fails = full()

    async def story() -> list[Client]:
        asking = [order(app, headers=((b"idempotency-key", b"k-%d" % number),)) for number in range(50)]
        await asyncio.sleep(5)
        assert app.house.door.waiting == 50
        assert len(app.store.looked) < 20
        app.store.fails = []
        return await asyncio.gather(*asking)

    assert {client.status for client in run(story())} == {201}
    assert clock.now < 1005.6
    assert len(app.effects) == 50
    assert app.house.door.waiting == 0


def test_who_waits_in_vain_is_told_what_its_own_query_would_be(run, clock, app) -> None:
    app.store.fails = full()

    async def story() -> Client:
        return await order(app)

    client = run(story())

    assert (client.status, client.problem["code"], app.runs) == (503, "overloaded", 0)
    assert client.headers["retry-after"] == "1"
    assert clock.now == pytest.approx(1010)
    assert app.house.replay.keys._running == {}


def test_whatever_else_passes_in_vain_is_the_databases(run, clock, app) -> None:
    app.store.fails = full(code="26000")

    async def story() -> Client:
        return await order(app)

    assert run(story()).problem["code"] == "database_unavailable"


def test_what_can_be_written_down_instead_is(run, clock, app) -> None:
    """JRN-1: by its client's own key; after as long as such a route waits."""
    app.store.fails = full()
    house = JournalHouse()
    app.house.replay.postponing = Postponing(app.house.replay, house.journaling, "/operations/", 8.0)

    async def story() -> Client:
        return await order(app)

    assert run(story()).status == 202
    assert clock.now == pytest.approx(1008)
    assert house.one.key == "k-1"


def test_nobody_waits_past_the_deadline(run, clock, app) -> None:
    """Property 18."""
    app.store.fails = full()
    app.house.timeout = 3.0

    async def story() -> Client:
        return await order(app)

    assert run(story()).status in (503, 504)
    assert clock.now == pytest.approx(1003, abs=0.2)


def test_who_leaves_is_let_go_at_once(run, clock, app) -> None:
    app.store.fails = full()
    client = Client(b"tea")

    async def story() -> None:
        asking = app.house.asks("POST", "/orders", headers=(KEY,), client=client)
        await asyncio.sleep(4.1)
        client.leave()
        await asking

    run(story())

    assert clock.now == pytest.approx(1004.1)
    assert (client.sent, app.runs) == ([], 0)
    assert len(app.house.of(RequestAbandoned)) == 1
    assert app.house.replay.keys._running == {}


def test_who_waits_when_we_stop_is_told_at_once(run, clock, app) -> None:
    """SHD-1."""
    app.store.fails = full()

    async def story() -> list[Client]:
        asking = order(app)
        await asyncio.sleep(4.1)
        app.house.door.close()
        waited = await asking
        assert clock.now == pytest.approx(1004.1)
        return [waited, await order(app, headers=((b"idempotency-key", b"k-2"),))]

    assert [client.problem["code"] for client in run(story())] == ["shutting_down"] * 2


def test_the_room_is_bounded_for_them_too(run, clock, app) -> None:
    app.store.fails = full()
    app.house.door.rules = type(app.house.door.rules)(max_waiting=2)

    async def story() -> list[Client]:
        asking = [order(app, headers=((b"idempotency-key", b"k-%d" % number),)) for number in range(9)]
        return await asyncio.gather(*asking)

    codes = [client.problem["code"] for client in run(story())]

    assert codes.count("waiting_room_full") == 9 - codes.count("overloaded") > 0


def test_one_that_nobody_waits_for_any_more_is_asked_afresh(run, clock, app) -> None:
    app.store.fails = full()

    async def story() -> Client:
        await order(app)
        await asyncio.sleep(1)
        app.store.fails = []
        began = clock.now
        client = await order(app)
        assert clock.now == began
        return client

    assert run(story()).status == 201


def test_an_answer_waits_for_room_to_be_kept_in(run, clock, app) -> None:
    """REQ-5: not kept, the same key would never be told it."""
    house: House = app.house

    async def story() -> None:
        app.held = asyncio.Event()
        asking = order(app)
        await turns()
        app.store.fails = full(20)
        app.held.set()
        await asking
        await asyncio.sleep(20)

    run(story())

    assert house.of(AnswersNotKept) == []
    assert [row.answer is not None for row in app.store.rows.values()] == [True]


def test_the_words_of_the_test_are_those_of_the_faults() -> None:
    from holdfast.asgi.key_questions import passes
    from holdfast.faults.classify import classify

    assert classify(Told("53300"), database=True).category is CROWDED.category
    assert not passes(classify(Told("57P03"), database=True))  # lost: the door waits for it
    assert not passes(classify(Told("57014"), database=True))
