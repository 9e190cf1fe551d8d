"""What keys do when their store is slow, lost, spoilt or knows only half (REQ-5, TXN-4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, answers, away, back, ledger, turns
from key_stage import KEY, BusyError, LostError, Memory, order, shop

from holdfast.asgi import keys as keys_module
from holdfast.context import REQUEST
from holdfast.databases.markers import Kept
from holdfast.events import RequestAbandoned, RequestHeld
from holdfast.policy.keys import fingerprint_of, name_of
from holdfast.work.events import AnswersNotKept

NAME = name_of("k-1", "POST", "/orders")
OURS = fingerprint_of("POST", "/orders", b"", b"tea", {})


@pytest.fixture(autouse=True)
def classified(monkeypatch: pytest.MonkeyPatch) -> None:
    """`LostError` is a loss to whoever asks."""
    whole = keys_module.classify

    def classify(error: BaseException, *, database: bool = False) -> Any:
        return whole(ConnectionResetError() if isinstance(error, LostError) else error, database=database)

    monkeypatch.setattr(keys_module, "classify", classify)


# ── a marker alone ───────────────────────────────────────────────────────────────────────────────


def test_for_the_answer_of_another_process_it_waits_a_little(run, clock) -> None:
    app = shop(clock)
    app.store.mark(NAME, OURS, age_s=0.5)

    async def story() -> Client:
        asking = order(app)
        await asyncio.sleep(0.25)
        assert not asking.done()
        row = app.store.rows[NAME]
        app.store.rows[NAME] = type(row)(OURS, 0.8, Kept(201, (), b"theirs", 6))
        return await asking

    client = run(story())

    assert (client.status, client.body, app.runs) == (201, b"theirs", 0)
    assert clock.now < 1001


def test_an_answer_that_does_not_come_soon_is_still_on_its_way(run, clock) -> None:
    app = shop(clock)
    app.store.mark(NAME, OURS)

    async def story() -> Client:
        return await order(app)

    client = run(story())

    assert (client.status, client.problem["code"], app.runs) == (409, "idempotency_in_progress", 0)
    assert clock.now == pytest.approx(1001, abs=0.2)


def test_done_and_its_answer_lost(run, clock) -> None:
    app = shop(clock)
    app.store.mark(NAME, OURS, age_s=11.0)

    async def story() -> Client:
        return await order(app)

    client = run(story())

    assert (client.status, client.problem["code"], app.runs) == (503, "applied_but_interrupted", 0)


def test_a_client_that_left_meanwhile_has_nothing_run(run, clock) -> None:
    """REQ-3: nobody executes orders whose clients left long ago."""
    app = shop(clock)
    client = Client(b"tea")

    async def story() -> None:
        app.store.held = asyncio.Event()
        asking = app.house.asks("POST", "/orders", headers=(KEY,), client=client)
        await asyncio.sleep(0.5)
        client.leave()
        app.store.held.set()
        await asking

    run(story())

    assert (client.sent, app.runs) == ([], 0)
    assert len(app.house.of(RequestAbandoned)) == 1


# ── two that both found nothing ──────────────────────────────────────────────────────────────────


async def both_run(app: Any, body: bytes = b"tea") -> Client:
    """An order that finds nothing under its key and, when it commits, another process's marker."""
    app.held = asyncio.Event()
    asking = order(app, body)
    await asyncio.sleep(0.01)
    assert app.runs == 1
    app.store.mark(NAME, OURS)
    app.held.set()
    return await asking


def test_who_comes_second_commits_nothing_and_gets_the_first_answer(run, clock) -> None:
    app = shop(clock)

    async def story() -> Client:
        running = asyncio.ensure_future(both_run(app))
        await asyncio.sleep(0.3)
        row = app.store.rows[NAME]
        app.store.rows[NAME] = type(row)(OURS, 0.3, Kept(201, (("x-first", "yes"),), b"theirs", 6))
        return await running

    client = run(story())

    assert (client.status, client.body, app.effects) == (201, b"theirs", [])
    assert app.house.counted.forgotten != []


def test_a_second_one_with_other_work_leaves_no_answer_under_the_first_ones_key(run, clock) -> None:
    """Its 422 is no answer to the first one, whose own is still on its way."""
    app = shop(clock)

    async def story() -> Client:
        client = await both_run(app, b"coffee")
        await turns()
        return client

    client = run(story())

    assert (client.status, client.problem["code"], app.effects) == (422, "idempotency_mismatch", [])
    assert app.store.rows[NAME].answer is None
    assert app.store.kept == []


def test_the_first_answer_is_looked_for_where_the_marker_was_found(run, clock) -> None:
    """A route may come to another database than all of its requests so far."""
    app = shop(clock)

    async def story() -> Client:
        app.house.registry.adopt(("other",), "other", "db:2", lambda: app.house.main.driver)
        app.house.replay.needs.learn("POST", "/orders", {"other"})
        app.house.registry.get("other").markers = other = Memory()  # type: ignore[union-attr]
        other.usable = True
        running = asyncio.ensure_future(both_run(app))
        await asyncio.sleep(0.1)
        row = app.store.rows[NAME]
        app.store.rows[NAME] = type(row)(OURS, 0.1, Kept(201, (), b"theirs", 6))
        return await running

    assert run(story()).body == b"theirs"


# ── routes that mostly need no database ──────────────────────────────────────────────────────────


def test_a_route_that_once_did_without_a_database_is_no_route_without_keys(run, clock) -> None:
    app = shop(clock)
    app.house.replay.needs.learn("POST", "/orders", set())

    async def story() -> Client:
        await order(app)
        await turns()
        return await order(app)

    second = run(story())

    assert app.effects == [b"tea"]
    assert (second.status, second.headers["idempotent-replayed"]) == (201, "true")


class Charging:
    """An application whose effect is in no database of ours."""

    def __init__(self) -> None:
        self.charges = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.charges += 1
        await answers(send, 201)


def test_an_effect_elsewhere_has_a_key_too(run, clock) -> None:
    app = shop(clock)
    app.house.replay.app = charging = Charging()

    async def story() -> list[Client]:
        return [await order(app) for _ in range(3)]

    assert [one.status for one in run(story())] == [201, 201, 201]
    assert charging.charges == 1


def test_a_route_without_any_database_does_not_wait_for_one(run, clock) -> None:
    app = shop(clock)
    app.house.replay.app = charging = Charging()

    async def story() -> Client:
        await order(app)
        away(app.house.main)
        await turns()
        return await order(app, headers=((b"idempotency-key", b"another"),))

    assert run(story()).status == 201
    assert (charging.charges, clock.now) == (2, 1000.0)


def test_who_comes_while_the_first_has_something_left_to_do_gets_its_answer(run, clock) -> None:
    """The answer has left; a task behind it still runs."""
    app = shop(clock)
    app.house.replay.app = behind = Behind(app)

    async def story() -> Client:
        behind.done = asyncio.Event()
        first = order(app)
        await turns(20)
        assert not first.done()
        second = await order(app)
        behind.done.set()
        await first
        return second

    second = run(story())

    assert (second.status, second.headers["idempotent-replayed"], app.runs) == (201, "true", 1)


class Behind:
    """The shop, with something left to do after each answer."""

    def __init__(self, shop: Any) -> None:
        self._shop = shop
        self.done: asyncio.Event

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._shop(scope, receive, send)
        await self.done.wait()


def test_what_runs_on_after_the_answer_is_not_marked(run, clock) -> None:
    """A task left behind by the handler commits after the answer was kept: it is no second attempt."""
    app = shop(clock)
    seen: list[Any] = []

    async def leaves_a_task(scope: Any, receive: Any, send: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(1)
            request = REQUEST.get()
            assert request is not None
            seen.append(request.marker)

        ledger().databases.add("main")
        app.house.task = asyncio.ensure_future(later())  # type: ignore[attr-defined]
        await answers(send, 202)

    app.house.replay.app = leaves_a_task

    async def story() -> None:
        await order(app)
        await app.house.task  # type: ignore[attr-defined]

    run(story())

    assert seen == [None]
    assert app.store.rows[NAME].answer is not None


# ── a store that does not answer ─────────────────────────────────────────────────────────────────


def test_a_database_lost_while_it_is_asked_is_waited_for(run, clock) -> None:
    app = shop(clock)
    app.store.fails = [LostError()]

    async def story() -> Client:
        app.house.main.watched_by(lambda database, _: away(database))
        asking = order(app)
        await asyncio.sleep(4)
        assert (app.runs, asking.done()) == (0, False)
        app.house.main.doubted = False
        back(app.house.main)
        return await asking

    assert run(story()).status == 201
    assert len(app.house.of(RequestHeld)) == 1
    assert app.runs == 1


def test_one_that_is_away_is_not_asked(run, clock) -> None:
    """Who waits for it waits at the door, where it is counted and its client watched."""
    app = shop(clock)

    async def story() -> Client:
        away(app.house.main)
        asking = order(app)
        await turns()
        assert app.store.looked == []
        assert app.house.door.waiting == 1
        await asyncio.sleep(2)
        back(app.house.main)
        return await asking

    assert run(story()).status == 201


def test_who_waits_too_long_to_be_looked_up_is_told(run, clock) -> None:
    app = shop(clock)

    async def story() -> Client:
        away(app.house.main)
        return await order(app)

    client = run(story())

    assert (client.status, client.problem["code"], app.runs) == (503, "database_unavailable", 0)
    assert app.house.replay.keys._running == {}


def test_a_database_without_time_is_not_guessed_about(run, clock) -> None:
    """A statement timeout says nothing of the table: keys are kept on, this request is told."""
    app = shop(clock)
    app.store.fails = [BusyError()]

    async def story() -> list[Client]:
        return [await order(app), await order(app)]

    busy, well = run(story())

    assert (busy.status, busy.problem["code"], busy.headers["retry-after"]) == (
        503,
        "database_unavailable",
        "1",
    )
    assert (well.status, app.runs, app.store.causes) == (201, 1, [])


def test_a_spoilt_store_is_off_and_requests_are_served_as_without_it(run, clock) -> None:
    app = shop(clock)
    app.store.fails = [RuntimeError("no such table")]

    async def story() -> list[int]:
        return [(await order(app)).status for _ in range(3)]

    assert run(story()) == [201, 201, 201]
    assert len(app.store.causes) == 1
    assert app.store.kept == []


def test_many_that_come_while_one_is_asked_go_together(run, clock) -> None:
    app = shop(clock)

    async def story() -> None:
        app.store.held = asyncio.Event()
        asking = [order(app, headers=((b"idempotency-key", b"k-%d" % number),)) for number in range(50)]
        await turns()
        app.store.held.set()
        await asyncio.gather(*asking)

    run(story())

    assert len(app.store.looked) <= 2
    assert sum(map(len, app.store.looked)) == 50
    assert len(app.effects) == 50


# ── answers on their way to the store ────────────────────────────────────────────────────────────


def test_an_answer_that_is_not_written_yet_is_given_all_the_same(run, clock) -> None:
    app = shop(clock)

    async def story() -> Client:
        app.house.main.watched_by(lambda *_: None)
        app.store.fails = []
        first = order(app)
        app.house.main.doubted = False
        await first
        app.store.rows.clear()  # nothing of it is in the store
        app.house.replay.keys._unwritten[NAME] = (
            app.house.main,
            keys_module.Written(NAME, OURS, Kept(201, (), b"mine", 4)),
        )
        return await order(app)

    assert run(story()).body == b"mine"
    assert app.runs == 1


def test_an_answer_waits_for_a_database_that_is_away(run, clock) -> None:
    app = shop(clock)

    async def story() -> None:
        app.held = asyncio.Event()
        asking = order(app)
        await turns()
        away(app.house.main)
        app.held.set()
        await asking
        await asyncio.sleep(5)
        assert app.store.kept == []
        back(app.house.main)
        await turns(20)

    run(story())

    assert app.store.kept == [[NAME]]


@pytest.mark.parametrize(("times", "told"), [(2, 0), (3, 1)])
def test_what_a_busy_store_does_not_keep_is_tried_again_and_then_told(run, clock, times, told) -> None:
    app = shop(clock)

    async def story() -> None:
        await order(app, headers=((b"idempotency-key", b"warm"),))
        await asyncio.sleep(1)  # its answer has been written
        app.held = asyncio.Event()
        asking = order(app)
        await turns()
        app.store.fails = [BusyError() for _ in range(times)]
        app.held.set()
        await asking
        await asyncio.sleep(1)

    run(story())

    assert [one.answers for one in app.house.of(AnswersNotKept)] == [1] * told
    assert (app.store.rows[NAME].answer is None) == bool(told)
    assert app.store.causes == []


def test_what_waits_to_be_written_is_bounded_and_what_is_forgotten_is_told(run, clock, monkeypatch) -> None:
    """Property 19: an outage does not fill the memory."""
    monkeypatch.setattr(keys_module, "_MOST_UNWRITTEN", 10)
    app = shop(clock)

    async def story() -> int:
        app.held = asyncio.Event()
        asking = [order(app, headers=((b"idempotency-key", b"k-%d" % number),)) for number in range(25)]
        await asyncio.sleep(0.1)
        away(app.house.main)
        app.held.set()
        await asyncio.gather(*asking)
        most = len(app.house.replay.keys._unwritten)
        back(app.house.main)
        await asyncio.sleep(1)
        return most

    assert run(story()) == 10
    assert sum(map(len, app.store.kept)) == 10
    (told,) = app.house.of(AnswersNotKept)
    assert told.answers == 15


def test_at_the_end_what_is_on_its_way_is_written_and_the_store_let_go(run, clock) -> None:
    app = shop(clock)

    async def story() -> None:
        await order(app)
        await app.house.replay.keys.close()

    run(story())

    assert app.store.kept == [[NAME]]
    assert app.store.closed


def test_the_end_does_not_wait_for_a_database_that_is_away(run, clock) -> None:
    app = shop(clock)

    async def story() -> None:
        app.held = asyncio.Event()
        asking = order(app)
        await turns()
        away(app.house.main)
        app.held.set()
        await asking
        await app.house.replay.keys.close()

    run(story())

    assert clock.now == 1001.0
    assert app.store.closed


@pytest.mark.parametrize("ends", ["answered", "raised", "cancelled", "client left"])
def test_a_key_is_let_go_however_its_request_ends(run, clock, ends: str) -> None:
    app = shop(clock)
    client = Client(b"tea")

    async def story() -> None:
        if ends == "raised":
            app.statuses = [500]
        app.held = asyncio.Event()
        asking = app.house.asks("POST", "/orders", headers=(KEY,), client=client)
        await turns()
        assert set(app.house.replay.keys._running) == {NAME}
        if ends == "cancelled":
            asking.cancel()
        if ends == "client left":
            client.leave()
        app.held.set()
        await asyncio.wait([asking])

    run(story())

    assert app.house.replay.keys._running == {}
