"""`GET /operations/{id}` tells what became of a journaled request, to whoever has its id (JRN-2)."""

from __future__ import annotations

import base64
import gzip
import zlib
from typing import Any

import pytest
from asgi_stage import Client, scope_of
from journal_house import JournalHouse, order_scope, told_by
from starlette.applications import Starlette
from starlette.routing import Route

from holdfast.asgi.journal_run import CUT
from holdfast.asgi.operations import operation_id, place_of
from holdfast.work.entry import Answer, State
from holdfast.work.journal import JournalError

JSON = (b"content-type", b"application/json")
GZIP = (b"content-encoding", b"gzip")
DEFLATE = (b"content-encoding", b"deflate")
BROTLI = (b"content-encoding", b"br")
BOMB = gzip.compress(bytes(2 * 1024 * 1024))


async def shown(state: State, method: str = "GET", **changes: Any) -> tuple[Client, Any]:
    house = JournalHouse()
    accepted, _ = await house.sent(order_scope(query_string=b"card=4111"))
    house.journal.becomes(state, **changes)
    client = await house.shown(accepted.id, method)
    return client, told_by(client) if method == "GET" else None


async def test_one_that_waits() -> None:
    client, told = await shown(State.PENDING, attempts=1, cause="answered 500")

    assert client.status == 200
    assert client.headers["cache-control"] == "no-store"
    assert client.headers["retry-after"] == "1"
    assert {key: told[key] for key in ("status", "method", "path", "attempts", "response", "problem")} == {
        "status": "pending",
        "method": "POST",
        "path": "/orders",
        "attempts": 1,
        "response": None,
        "problem": None,
    }
    assert told["journaledAt"].endswith("Z")


async def test_one_that_is_done_shows_its_answer() -> None:
    headers = (JSON, (b"location", b"/orders/7"), (b"set-cookie", b"secret"))
    client, told = await shown(State.DONE, answer=Answer(201, headers, b'{"id": 7}'), finished_at=1000.5)

    assert told["response"] == {
        "status": 201,
        "headers": {"content-type": "application/json", "location": "/orders/7"},
        "body": {"id": 7},
    }
    assert told["finishedAt"] == "1970-01-01T00:16:40.500Z"
    assert "retry-after" not in client.headers
    assert told["problem"] is None


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (Answer(200, (), b""), {"body": None}),
        (Answer(200, ((b"content-type", b"text/plain"),), b"fine"), {"body": "fine"}),
        (Answer(200, (JSON,), b'{"cut'), {"body": '{"cut'}),
        (Answer(200, (), b"\xff\xfe"), {"body": "//4=", "encoding": "base64"}),
        (Answer(200, ((CUT, b"70000"),), b"a\xc3"), {"body": "a", "cutFrom": 70000}),
        (Answer(200, (JSON, GZIP), gzip.compress(b'{"id": 7}')), {"body": {"id": 7}}),
        (
            Answer(200, (GZIP, (CUT, b"70000")), gzip.compress(b"a" * 90)[:12]),
            {"body": "a", "cutFrom": 70000},
        ),
        (Answer(200, (DEFLATE,), zlib.compress(b"fine")), {"body": "fine"}),
        (Answer(200, (DEFLATE,), zlib.compress(b"fine", wbits=-15)), {"body": "fine"}),
        (Answer(200, (GZIP,), b"fine"), {"body": "ZmluZQ==", "encoding": "base64"}),
        (Answer(200, (BROTLI,), b"fine"), {"body": "ZmluZQ==", "encoding": "base64"}),
        (Answer(200, (GZIP,), BOMB), {"body": base64.b64encode(BOMB).decode(), "encoding": "base64"}),
    ],
)
async def test_bodies_of_all_kinds(answer: Answer, content: dict[str, Any]) -> None:
    _, told = await shown(State.DONE, answer=answer)

    response = {key: told["response"][key] for key in told["response"] if key not in ("status", "headers")}
    assert response == content


async def test_one_that_failed_shows_the_applications_own_problem() -> None:
    headers = ((b"content-type", b"application/problem+json"),)
    _, told = await shown(State.FAILED, answer=Answer(422, headers, b'{"title": "No such item"}'))

    assert told["status"] == "failed"
    assert told["problem"] == {"title": "No such item"}


async def test_one_that_failed_without_a_problem_gets_one() -> None:
    _, told = await shown(State.FAILED, answer=Answer(404, (JSON,), b'{"detail": "gone"}'))

    assert (told["problem"]["title"], told["problem"]["status"]) == ("Not Found", 404)
    assert told["response"]["body"] == {"detail": "gone"}


async def test_one_that_is_dead_says_so() -> None:
    """JRN-3."""
    _, told = await shown(State.DEAD, answer=Answer(500), attempts=3, cause="answered 500")

    assert (told["status"], told["attempts"], told["problem"]["code"]) == ("dead", 3, "operation_dead")


async def test_one_whose_answer_was_lost_says_so() -> None:
    _, told = await shown(State.DONE, answer=None)

    assert (told["response"], told["problem"]["code"]) == (None, "applied_but_interrupted")


async def test_neither_query_nor_body_nor_headers_of_the_request_are_shown() -> None:
    client, _ = await shown(State.PENDING)

    assert b"4111" not in client.body


async def test_head_has_no_body() -> None:
    client, _ = await shown(State.PENDING, "HEAD")

    assert (client.status, client.body) == (200, b"")
    assert int(client.headers["content-length"]) > 0


async def test_an_unknown_one_is_not_found() -> None:
    client = await JournalHouse().shown("nobody")

    assert client.status == 404
    assert client.problem["code"] == "not_found"
    assert client.headers["content-type"] == "application/problem+json"
    assert client.headers["cache-control"] == "no-store"


async def test_a_journal_that_cannot_be_read_is_503() -> None:
    house = JournalHouse()
    house.journal.fails = JournalError("locked")
    client = await house.shown("nobody")

    assert (client.status, client.problem["code"]) == (503, "journal_unavailable")
    assert client.headers["retry-after"] == "1"


# ---- where it is shown ---------------------------------------------------------------------------


async def page(request: Any) -> None: ...


def test_operations_are_at_our_own_prefix_when_the_application_has_its_own() -> None:
    assert place_of(Starlette(routes=[Route("/orders", page)])) == "/operations/"
    assert place_of(Starlette(routes=[Route("/operations/{id}", page)])) == "/_holdfast/operations/"
    assert place_of(page) == "/_holdfast/operations/"


@pytest.mark.parametrize(
    ("method", "path", "id"),
    [
        ("GET", "/operations/abc", "abc"),
        ("HEAD", "/operations/abc", "abc"),
        ("GET", "/_holdfast/operations/abc", "abc"),
        ("POST", "/operations/abc", None),
        ("GET", "/operations/", None),
        ("GET", "/operations/abc/def", None),
        ("GET", f"/operations/{'x' * 129}", None),
        ("GET", "/orders", None),
    ],
)
def test_which_requests_ask_for_one(method: str, path: str, id: str | None) -> None:  # noqa: A002
    assert operation_id(scope_of(method, path), "/operations/") == id


def test_behind_a_proxy_that_serves_it_under_a_path() -> None:
    scope = {**scope_of("GET", "/api/operations/abc"), "root_path": "/api"}

    assert operation_id(scope, "/operations/") == "abc"
    assert operation_id(scope_of("GET", "/operations/abc"), "/_holdfast/operations/") is None
