"""A key is run once and given its first answer ever after, on a store in memory (REQ-5)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_stage import Client, ledger, loses, reads, scope_of, turns
from key_stage import KEY, order, shop

from holdfast.asgi.context import request_of
from holdfast.policy.keys import name_of
from holdfast.policy.replay import Commit
from holdfast.work.events import AnswerReplayed

NAME = name_of("k-1", "POST", "/orders")


def test_the_second_time_the_first_answer_is_given(run, clock) -> None:
    app = shop(clock)

    async def story() -> tuple[Client, Client]:
        return await order(app), await order(app)

    first, second = run(story())

    assert app.effects == [b"tea"]
    assert (first.status, first.body) == (second.status, second.body) == (201, b"ordered")
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-app"] == "1"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    (told,) = app.house.of(AnswerReplayed)
    assert (told.method, told.path, told.status) == ("POST", "/orders", 201)


def test_it_is_given_by_another_process_too(run, clock) -> None:
    """What the store holds is all that another process knows."""
    app, other = shop(clock), shop(clock)
    other.house.main.markers = app.store

    async def story() -> Client:
        await order(app)
        await turns()
        return await order(other)

    second = run(story())

    assert (second.status, second.body, other.runs) == (201, b"ordered", 0)


def test_it_is_given_though_the_connection_we_ask_on_leads_to_another_server_now(run, clock) -> None:
    """DB-8: an old primary that lives on knows nothing of what its successor was told."""
    app, before = shop(clock), shop(clock)
    app.house.main.markers = app.store

    async def story() -> Client:
        await order(before)
        await asyncio.sleep(1)  # its answer is kept
        app.store.elsewhere = before.store.rows
        return await order(app)

    second = run(story())

    assert (second.status, second.body, app.effects, app.store.afresh) == (201, b"ordered", [], 1)
    assert second.headers["idempotent-replayed"] == "true"


def test_while_it_runs_the_others_are_told_to_wait(run, clock) -> None:
    app = shop(clock)

    async def story() -> tuple[list[Client], Client]:
        app.held = asyncio.Event()
        running = order(app)
        await turns()
        others = await asyncio.gather(*(order(app) for _ in range(19)))
        app.held.set()
        return others, await running

    others, first = run(story())

    assert app.effects == [b"tea"]
    assert first.status == 201
    assert {(one.status, one.problem["code"]) for one in others} == {(409, "idempotency_in_progress")}
    assert {one.headers["retry-after"] for one in others} == {"1"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"coffee", (KEY,)),
        (b"tea", (KEY, (b"authorization", b"Bearer bob"))),
        (b"tea", (KEY, (b"x-api-key", b"bob"))),
        (b"tea", (KEY, (b"cookie", b"session=bob"))),
    ],
    ids=["payload", "authorization", "api key", "cookie"],
)
@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "afterwards"])
def test_the_key_of_other_work_is_refused(run, clock, body: bytes, headers: Any, running: bool) -> None:
    """An answer is given only to whoever asked the same, with the same credentials."""
    app = shop(clock)

    async def story() -> Client:
        app.held = asyncio.Event()
        first = order(app)
        await turns()
        if not running:
            app.held.set()
            await first
        other = await order(app, body, headers)
        app.held.set()
        await first
        return other

    other = run(story())

    assert (other.status, other.problem["code"]) == (422, "idempotency_mismatch")
    assert "retry-after" not in other.headers
    assert app.effects == [b"tea"]


def test_the_same_key_on_another_route_is_another_key(run, clock) -> None:
    app = shop(clock)

    async def story() -> None:
        await order(app)
        await order(app, path="/refunds")

    run(story())

    assert app.runs == 2


@pytest.mark.parametrize(
    "key", [b"", b'""', b"k" * 300, b"a\x01b"], ids=["empty", "quotes", "300", "control"]
)
def test_what_is_no_key_is_refused_before_anything_runs(run, clock, key: bytes) -> None:
    app = shop(clock)

    async def story() -> Client:
        return await order(app, headers=((b"idempotency-key", key),))

    client = run(story())

    assert (client.status, client.problem["code"]) == (400, "idempotency_key_invalid")
    assert (app.runs, app.store.looked) == (0, [])


def test_a_safe_method_needs_no_key_and_has_none(run, clock) -> None:
    app = shop(clock)

    async def story() -> list[Client]:
        return [await app.house.ask("GET", headers=((b"idempotency-key", key),)) for key in (b"k", b"")]

    assert [one.status for one in run(story())] == [201, 201]
    assert app.store.looked == []


@pytest.mark.parametrize("status", [400, 404, 422, 201, 204, 303])
def test_a_final_answer_stays(run, clock, status: int) -> None:
    app = shop(clock)
    app.statuses = [status, 500]

    async def story() -> list[int]:
        return [(await order(app)).status, (await order(app)).status]

    assert run(story()) == [status, status]
    assert app.runs == 1


@pytest.mark.parametrize("status", [401, 403, 408, 409, 425, 429, 500, 503])
def test_an_answer_that_may_turn_does_not(run, clock, status: int) -> None:
    app = shop(clock)
    app.statuses = [status, 201]

    async def story() -> list[int]:
        return [(await order(app)).status, (await order(app)).status]

    assert run(story()) == [status, 201]
    assert app.runs == 2


@pytest.mark.parametrize("status", [403, 409, 429, 500, 503])
def test_an_answer_after_a_commit_stays(run, clock, status: int) -> None:
    """REQ-5: nothing can turn it any more, and it did leave; asking later changes nothing."""
    app = shop(clock)

    async def committing(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1
        app._commits(await reads(receive))
        ledger().settle(Commit.COMMITTED)
        headers = [(b"retry-after", b"5"), (b"x-app", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"later"})

    app.house.replay.app = committing

    async def story() -> tuple[Client, Client]:
        return await order(app), await order(app)

    first, second = run(story())

    assert (first.status, first.headers["retry-after"]) == (status, "5")
    assert (second.status, second.body, app.runs) == (status, b"later", 1)
    assert second.headers["idempotent-replayed"] == "true"
    assert "retry-after" not in second.headers


def test_our_own_refusal_after_a_commit_is_no_answer(run, clock) -> None:
    """The next one is told what is known: that it was saved."""
    app = shop(clock)

    async def losing(scope: Any, receive: Any, send: Any) -> None:
        app.runs += 1
        app._commits(await reads(receive))
        ledger().settle(Commit.COMMITTED)
        raise loses(app.house.main)

    app.house.replay.app = losing

    async def story() -> tuple[Client, Client]:
        first = await order(app)
        row = app.store.rows[NAME]
        app.store.rows[NAME] = type(row)(row.fingerprint, 11.0, row.answer)
        return first, await order(app)

    for client in run(story()):
        assert (client.status, client.problem["code"]) == (503, "applied_but_interrupted")
        assert not {"retry-after", "idempotent-replayed"} & set(client.headers)
    assert app.runs == 1


@pytest.mark.parametrize(
    ("commit", "statuses"),
    [(Commit.NONE, [404, 201]), (Commit.ROLLED_BACK, [404, 201]), (Commit.COMMITTED, [404, 404])],
)
def test_a_refusal_of_a_run_from_the_journal_does_not_bind_the_next(
    run, clock, commit: Commit, statuses: list[int]
) -> None:
    """JRN-3: an admin has it run again; unless there is an effect of it."""
    app = shop(clock)
    app.statuses = [404, 201]

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        if not app.runs:
            ledger().settle(commit)
        await app(scope, receive, send)

    app.house.replay.app = refusing

    async def story() -> list[int]:
        rerun = {"holdfast.journal": SimpleNamespace(key="k-1", request_id="id", refused=lambda code: None)}
        asked = [await app.house.ask("POST", "/orders", client=Client(b"tea"), **rerun) for _ in range(2)]
        return [client.status for client in asked]

    assert run(story()) == statuses


# ── what is too long ─────────────────────────────────────────────────────────────────────────────


def test_of_a_body_over_the_bound_its_beginning_and_its_length_count(run, clock) -> None:
    app = shop(clock, body_bytes=10)

    async def story() -> list[int]:
        sized = ((b"content-length", b"30"), KEY)
        first = await order(app, b"a" * 30, sized)
        same = await order(app, b"a" * 30, sized)
        begins_otherwise = await order(app, b"b" + b"a" * 29, sized)
        longer = await order(app, b"a" * 31, ((b"content-length", b"31"), KEY))
        return [one.status for one in (first, same, begins_otherwise, longer)]

    assert run(story()) == [201, 201, 422, 422]
    assert app.effects == [b"a" * 30]


def test_the_application_gets_the_whole_of_a_long_body(run, clock) -> None:
    app = shop(clock, body_bytes=10)
    parts = [bytes([97 + number]) * 7 for number in range(5)]

    async def story() -> Client:
        return await app.house.ask("POST", "/orders", headers=(KEY,), client=Client(*parts))

    assert run(story()).status == 201
    assert app.effects == [b"".join(parts)]


def test_an_answer_over_the_bound_is_known_by_its_status(run, clock) -> None:
    app = shop(clock, answer_bytes=6)

    async def story() -> tuple[Client, Client]:
        return await order(app), await order(app)

    first, second = run(story())

    assert (first.status, first.body) == (201, b"ordered")
    assert (second.status, second.body) == (201, b"")
    assert second.headers["content-length"] == "0"
    assert second.headers["holdfast-body-omitted"] == "7"
    assert app.runs == 1


def test_an_answer_of_exactly_the_bound_is_kept(run, clock) -> None:
    app = shop(clock, answer_bytes=7)

    async def story() -> Client:
        await order(app)
        return await order(app)

    assert run(story()).body == b"ordered"


def test_secrets_and_what_is_of_one_exchange_are_not_kept(run, clock) -> None:
    app = shop(clock)
    passed = app.__call__

    async def signing_in(scope: Any, receive: Any, send: Any) -> None:
        async def with_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(b"Set-Cookie", b"session=secret"), (b"date", b"today")]
            await send(message)

        await passed(scope, receive, with_more)

    app.house.replay.app = signing_in

    async def story() -> tuple[Client, Client]:
        return await order(app), await order(app)

    first, second = run(story())

    assert "Set-Cookie" in first.headers
    assert not {name.lower() for name in second.headers} & {"set-cookie", "date"}
    assert "secret" not in repr(app.store.rows)


# ── rules ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("active", [True, False])
def test_a_route_can_demand_a_key(run, clock, active: bool) -> None:
    from holdfast.policy.routes import Routes

    app = shop(clock, required=Routes(["POST /orders"]), active=active)

    async def story() -> list[Client]:
        return [await order(app, headers=()), await order(app, headers=(), path="/other"), await order(app)]

    missing, other, keyed = run(story())

    assert (missing.status, missing.problem["code"]) == (400, "idempotency_key_missing")
    assert (other.status, keyed.status) == (201, 201)


@pytest.mark.parametrize(("path", "code"), [("/orders", "idempotency_key_missing"), ("/other", "starting")])
def test_a_key_is_demanded_before_there_is_an_application(run, clock, path: str, code: str) -> None:
    """REQ-5: else a request without one would be written to the journal meanwhile."""
    from holdfast.policy.routes import Routes

    app = shop(clock, required=Routes(["POST /orders"]))
    client = Client(b"tea")
    scope = scope_of("POST", path)
    scope["holdfast"] = request_of(scope, 30.0)

    run(app.house.replay.turn_away(scope, client.receive, client.send, "starting"))

    assert client.problem["code"] == code


def test_where_keys_are_not_kept_nothing_is_asked_of_the_store(run, clock) -> None:
    app = shop(clock, active=False)

    async def story() -> None:
        await order(app)
        await order(app)

    run(story())

    assert (app.runs, app.store.looked, app.store.kept) == (2, [], [])
