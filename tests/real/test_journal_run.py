"""An outage on real PostgreSQL under `holdfast run`: a 202 happens once, in order (JRN-1, JRN-2, JRN-3)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator

import pytest
from journal_stage import (
    Burst,
    House,
    Sent,
    ask,
    house,
    operation,
    outcome,
    postpone,
    postponed,
    until,
)
from running import ASYNCPG, LITESTAR, SHOPS, SYNC, Running, Shop

from holdfast.drill.postgresql import PostgreSQL
from load import INTERRUPTED

ORDERS = {"HOLDFAST_JOURNAL": "POST /orders"}
JSON = ("Content-Type", "application/json")
SECRET = ("Authorization", "Bearer hunter2")


def failures(sent: list[Sent], one: Running, *, under_way: bool = False) -> list[object]:
    """Orders that were neither done nor postponed, and what was logged; nothing if there are none.

    One whose database died between its COMMIT and its answer is done, and told so.
    """
    good = (201, 202, 0) if under_way else (201, 202)
    bad = [order for order in sent if order.status not in good]
    bad = [order for order in bad if (order.status, order.body["code"]) != INTERRUPTED]
    return [*bad, one.output[-8000:]] if bad else []


async def through_an_outage(stage: House, one: Running, seconds: float, *, keyed: bool = True) -> list[Sent]:
    """Orders at 50/s while the server is stopped hard, and for a moment before and after."""
    async with Burst(one, keyed=keyed) as burst:
        await burst.some(20, 201)
        await asyncio.to_thread(stage.server.stop, "immediate")
        await asyncio.sleep(seconds)
        assert not failures(burst.sent, one, under_way=True)
        await asyncio.to_thread(stage.server.start)
        already = sum(sent.status == 201 for sent in burst.sent)
        await burst.some(already + 20, 201)
    return burst.sent


def each_happened_once_and_in_order(stage: House, one: Running, sent: list[Sent]) -> None:
    """Nothing failed, every order is there once, the postponed ones in order, and their clients know."""
    assert not failures(sent, one)
    later = postponed(sent)
    assert later
    last = outcome(one, later[-1])
    assert last["status"] == "done", last
    rows = [row[0] for row in stage.server.execute("SELECT reference FROM orders ORDER BY id")]
    assert sorted(rows) == sorted(order.reference for order in sent)
    place = {reference: number for number, reference in enumerate(rows)}
    ahead = [(early, late) for early in later for late in later if early.done_at < late.sent_at]
    assert ahead
    assert all(place[early.reference] < place[late.reference] for early, late in ahead)
    for order in later[:: len(later) // 20 + 1]:
        told = operation(one, order)
        assert (told["status"], told["response"]["status"]) == ("done", 201)
        assert told["response"]["body"]["reference"] == order.reference


@pytest.mark.parametrize(
    ("shop", "seconds", "keyed"),
    [(ASYNCPG, 2.5, True), (ASYNCPG, 1.0, False), (SYNC, 1.0, True), (LITESTAR, 1.0, True)],
    ids=["keyed", "without keys", "threads", "litestar"],
)
async def test_an_outage_fails_nobody_and_what_was_postponed_happens_once(
    postgresql: PostgreSQL, shop: Shop, seconds: float, keyed: bool
) -> None:
    """JRN-1, JRN-2: 202 with a place to ask; run once the database is back. What was sent when another's
    202 had arrived is run after that one."""
    with house(postgresql, ORDERS) as stage:
        one = stage.start(shop)
        sent = await through_an_outage(stage, one, seconds, keyed=keyed)
        each_happened_once_and_in_order(stage, one, sent)
        status, took = one.stop()

    assert status == 0
    assert took < 3


@pytest.mark.parametrize("shop", [ASYNCPG, SYNC], ids=["asyncpg", "threads"])
def test_a_timeout_below_the_patience_leaves_the_202(shared_postgresql: PostgreSQL, shop: Shop) -> None:
    """JRN-1: before the deadline, with `HOLDFAST_JOURNAL_AFTER_MS` as it is by default."""
    short = {"REQUEST_TIMEOUT_MS": "2000", "HOLDFAST_JOURNAL_AFTER_MS": "8000"}
    with house(shared_postgresql, {**ORDERS, **short}) as stage:
        one = stage.start(shop)
        bodies = [b'{"reference": "order-%d", "item_id": 1}' % number for number in range(2)]
        sent = [postpone(stage, one, "POST", "/orders", body, [JSON]) for body in bodies]
        told = [outcome(one, one_sent) for one_sent in sent]

    assert [(one["status"], one["response"]["status"]) for one in told] == [("done", 201)] * 2


def test_pyproject_beside_the_application_opts_in(shared_postgresql: PostgreSQL) -> None:
    """JRN-1: `[tool.holdfast] journal` in the folder that `--app-dir` names; the shop is unmodified."""
    with house(shared_postgresql) as stage:
        (stage.folder / "pyproject.toml").write_text('[tool.holdfast]\njournal = ["POST /orders"]\n')
        one = stage.start(ASYNCPG, {"PYTHONPATH": str(SHOPS)}, app_dir=stage.folder)
        body = b'{"reference": "by-pyproject", "item_id": 1}'
        told = outcome(one, postpone(stage, one, "POST", "/orders", body, [JSON]))

    assert (told["status"], told["response"]["status"]) == ("done", 201)
    assert told["response"]["body"]["reference"] == "by-pyproject"


# ---- a shop that opted in with `@journaled` ---------------------------------------------------------


@pytest.fixture(scope="module")
def stage(shared_postgresql: PostgreSQL) -> Iterator[House]:
    with house(shared_postgresql) as made:
        yield made


@pytest.fixture(scope="module")
def one(stage: House) -> Running:
    return stage.start()


def test_the_application_sees_the_request_as_it_was_sent(stage: House, one: Running) -> None:
    """JRN-1: method, raw path and query, headers in order, body, client; and when it was journaled."""
    target = "/echo/caf%C3%A9/a%2Fb/%20?q=%20a+b&q=%zz&empty"
    headers = [
        ("Accept-Encoding", "gzip, deflate"),
        ("X-Twice", "one"),
        ("Cookie", "session=secret"),
        ("X-Twice", "two"),
        ("X-Request-ID", "not one of ours"),
        ("Content-Type", "application/octet-stream"),
        ("Holdfast-Journaled-At", "1999-12-31T23:59:59.000Z"),
    ]
    body = bytes(range(256)) * 3
    live = ask(one, "PUT", target, body, headers)
    later = postpone(stage, one, "PUT", target, body, headers)
    told = outcome(one, later)

    assert live.status == 200
    shown, seen = live.body, told["response"]["body"]
    journaled_at = seen["headers"].pop()
    wanted = [["host", f"127.0.0.1:{one.port}"], *([a.lower(), b] for a, b in headers[:-1])]
    assert seen["headers"] == [*wanted, ["content-length", str(len(body))]]
    assert journaled_at == ["holdfast-journaled-at", told["journaledAt"]]
    assert shown["headers"] == seen["headers"], "a live client could forge that it was journaled"
    assert seen["client"] == list(later.client)
    assert base64.b64decode(seen["body"]) == body
    same = ("method", "path", "raw_path", "query", "version", "scheme", "server")
    assert {name: seen[name] for name in same} == {name: shown[name] for name in same}
    assert f"{seen['raw_path']}?{seen['query']}" == target


def test_a_client_that_asks_again_with_its_key_orders_once(stage: House, one: Running) -> None:
    """JRN-2: in the outage, and after it before its entry ran; another body under that key is refused."""
    key = ("Idempotency-Key", "asked-twice")
    with stage.away():
        twice = [ask(one, "POST", "/take/asked", b"same", [key]) for _ in range(2)]
        other = ask(one, "POST", "/take/asked", b"other", [key])
    live = ask(one, "POST", "/take/asked", b"same", [key])
    told = [outcome(one, sent) for sent in (*twice, other)]

    assert [sent.status for sent in (*twice, other, live)] == [202, 202, 202, 201]
    assert [operation["status"] for operation in told] == ["done", "done", "failed"]
    assert told[0]["response"]["body"] == told[1]["response"]["body"] == live.body
    assert told[2]["problem"]["code"] == "idempotency_mismatch"
    assert stage.times()["asked"] == 1


def test_a_long_body_is_kept_and_one_too_long_is_refused(stage: House, one: Running) -> None:
    """JRN-1: beyond what is kept for a replay (64 KiB); HOLDFAST_JOURNAL_BODY_BYTES is the bound."""
    body = os.urandom(700 * 1024)
    live = ask(one, "POST", "/take/long", body)
    with stage.away():
        kept = ask(one, "POST", "/take/long", body)
        refused = ask(one, "POST", "/take/long", bytes(10_000_000))
    told = outcome(one, kept)

    assert live.status == 201
    assert told["response"]["body"]["digest"] == hashlib.sha256(body).hexdigest()
    assert (refused.status, refused.body["code"]) == (503, "journal_body_too_large")
    assert stage.times()["long"] == 2


def test_a_token_that_expired_meanwhile_is_not_tried_again(stage: House, one: Running) -> None:
    """JRN-2: `failed`, with the 401 kept; one attempt."""
    good_until = time.time() + 0.7
    with stage.away():
        late = ask(one, "POST", "/with-token", b"", [("Authorization", f"Bearer {good_until}")])
        until(lambda: time.time() > good_until)
    told = outcome(one, late)
    behind = outcome(one, postpone(stage, one, "POST", "/take/behind-the-token"))

    assert (told["status"], told["response"]["status"], told["problem"]["status"]) == ("failed", 401, 401)
    assert told["response"]["body"] == {"detail": "the token has expired"}
    assert behind["status"] == "done"
    assert stage.runs.read_text().count("begins token") == 1


def test_a_poisonous_request_stops_and_an_admin_decides(stage: House, one: Running) -> None:
    """JRN-3: dead after MAX_RETRY_ATTEMPTS, not in the way of those behind it; the command line."""
    with stage.away():
        choking = [ask(one, "POST", f"/choke/{name}", b"", [SECRET]) for name in ("cured", "lost")]
        behind = ask(one, "POST", "/take/behind-the-choking")
    assert [outcome(one, sent)["status"] for sent in (*choking, behind)] == ["dead", "dead", "done"]
    assert operation(one, choking[0])["attempts"] == 3
    assert operation(one, choking[0])["problem"]["code"] == "operation_dead"
    assert stage.runs.read_text().count("begins cured") == 3

    listed = stage.journal("list", "--state", "dead").splitlines()
    number, lost = (next(line.split()[0] for line in listed if name in line) for name in ("cured", "lost"))
    shown = stage.journal("show", number)
    assert "answered 500" in shown
    assert "hunter2" not in shown
    exported = stage.journal("export", "--raw", "--yes", "--state", "dead").splitlines()
    assert [json.loads(line)["target"] for line in exported] == ["/choke/cured", "/choke/lost"]
    assert "hunter2" in exported[0]

    stage.server.execute("INSERT INTO cured VALUES ('cured')")
    stage.journal("retry", number)
    stage.journal("drop", "--yes", lost)
    assert until(lambda: operation(one, choking[0])["status"] == "done")
    assert stage.times()["cured"] == 1
    assert ask(one, "GET", choking[1].operation).status == 404


def test_one_that_saved_a_part_and_failed_is_not_done(stage: House, one: Running) -> None:
    """JRN-2, JRN-3: its effect is there, but it is not all of it; nothing is run twice."""
    told = outcome(one, postpone(stage, one, "POST", "/attempted/partly"))
    assert (told["status"], told["attempts"], told["problem"]["code"]) == ("dead", 1, "operation_dead")

    line = next(line for line in stage.journal("list").splitlines() if "/attempted/partly" in line)
    assert "answered 503; before that a part of it had been saved" in stage.journal("show", line.split()[0])
    assert stage.times()["partly"] == 1
    assert stage.runs.read_text().count("begins partly") == 1


@pytest.mark.parametrize("key", [[], [("Idempotency-Key", "of its own")]], ids=["no key", "a key"])
def test_an_admin_has_what_failed_run_again(stage: House, one: Running, key: list[tuple[str, str]]) -> None:
    """JRN-3: a 4xx of a run does not bind the next one; an effect does."""
    reference = f"retried{len(key)}"
    sent = postpone(stage, one, "POST", f"/unknown/{reference}", b"", key)
    assert outcome(one, sent)["response"]["status"] == 404
    line = next(line for line in stage.journal("list").splitlines() if reference in line)

    stage.server.execute(f"INSERT INTO cured VALUES ('{reference}')")
    stage.journal("retry", line.split()[0])
    assert outcome(one, sent)["status"] == "done"
    assert stage.times()[reference] == 1
    if key:  # what the journal's run has answered is its first answer
        again = ask(one, "POST", f"/unknown/{reference}", b"", key)
        assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")


def test_the_page_of_operations(stage: House, one: Running) -> None:
    """JRN-2: 404 for an unknown id, only with an id, HEAD, CORS; not cached; also under our own prefix."""
    origin = ("Origin", "https://shop.example")
    with stage.away():
        sent = ask(one, "POST", "/take/shown", b"", [origin])
        waits = ask(one, "GET", sent.operation, None, [origin])
        head = ask(one, "HEAD", sent.operation)
    place = sent.operation
    unknown = ask(one, "GET", "/operations/" + "0" * 32)

    assert place.startswith("/operations/")
    assert sent.headers["access-control-allow-origin"] == "https://shop.example"
    assert "Location" in sent.headers["access-control-expose-headers"]
    assert (waits.status, waits.body["status"], waits.body["response"]) == (200, "pending", None)
    assert waits.headers["access-control-allow-origin"] == "https://shop.example"
    assert waits.headers["cache-control"] == "no-store"
    assert (head.status, head.body) == (200, b"")
    assert (unknown.status, unknown.body["code"]) == (404, "not_found")
    assert ask(one, "GET", "/operations").body == {"detail": "Not Found"}
    assert ask(one, "GET", "/operations/").body == {"detail": "Not Found"}
    assert ask(one, "POST", place, b"").status in (404, 405)
    assert outcome(one, sent) == ask(one, "GET", f"/_holdfast{place}").body


def test_a_journaled_route_that_demands_a_key_gets_none_of_ours(shared_postgresql: PostgreSQL) -> None:
    """REQ-5: 400 without one, in an outage too."""
    with house(shared_postgresql) as stage:
        one = stage.start(environment={"HOLDFAST_REQUIRE_KEY": "POST /take/*"})
        asked = [ask(one, "POST", "/take/keyless")]
        with stage.away():
            asked.append(ask(one, "POST", "/take/keyless"))
            kept = ask(one, "POST", "/take/keyful", b"", [("Idempotency-Key", "a")])
        told = outcome(one, kept)

        assert [(one.status, one.body["code"]) for one in asked] == [(400, "idempotency_key_missing")] * 2
        assert told["status"] == "done"
        assert (stage.times()["keyless"], stage.times()["keyful"]) == (0, 1)


def test_an_application_with_operations_of_its_own_keeps_them(shared_postgresql: PostgreSQL) -> None:
    with house(shared_postgresql) as stage:
        one = stage.start(environment={"OWN_OPERATIONS": "1"})
        sent = postpone(stage, one, "POST", "/take/beside-surgery")

        assert sent.operation.startswith("/_holdfast/operations/")
        assert outcome(one, sent)["status"] == "done"
        assert ask(one, "GET", "/operations/heart").body == {"surgery": "heart"}
