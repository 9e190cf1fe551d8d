"""Errors that are told with a status of success (REQ-4), and routes that cope by themselves (REQ-3)."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_stage import Client, House, answers, ledger, loses

from holdfast.asgi.graphql import is_json, tells_errors

JSON = [(b"content-type", b"application/json")]
FAILED = b'{"data": null, "errors": [{"message": "database is away"}]}'


async def tells(send: Any, *parts: bytes, status: int = 200, headers: Any = JSON) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    for number, part in enumerate(parts, start=1):
        await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (FAILED, True),
        (b'{"errors": [{"message": "a"}], "data": {"item": null}}', True),
        (b'{"data": {"item": 1}}', False),
        (b'{"data": {"item": 1}, "errors": []}', False),
        (b'{"data": {"errors": ["a"]}}', False),
        (b'{"errors": ["a form of our own"]}', False),
        (b'{"data": 1, "errors": "none"}', False),
        (b'["errors"]', False),
        (b'{"errors": [1], "data": ', False),
        (b"", False),
    ],
)
def test_what_an_error_of_graphql_is(body: bytes, expected: bool) -> None:
    assert tells_errors(body) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (JSON, True),
        ([(b"Content-Type", b"application/graphql-response+json; charset=utf-8")], True),
        ([(b"content-type", b"text/html")], False),
        ([], False),
    ],
)
def test_what_may_be_one(headers: Any, expected: bool) -> None:
    assert is_json(headers) is expected


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_error_told_with_200_is_run_again(run, clock, method: str) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if clock.now == 1000.0:
            clock.now += 1
            loses(house.main, sent=0)
            await tells(send, FAILED)
            assert client.sent == []
        else:
            await answers(send)

    house = House(app, clock)
    run(house.ask(method, client=client))

    assert (client.status, client.body) == (200, b"fine")


def test_one_that_cannot_be_run_again_is_told(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().sent += 1
        loses(house.main)
        await tells(send, FAILED)

    house = House(app, clock)
    run(house.ask("POST", client=client))

    assert (client.status, client.problem["code"]) == (503, "database_unavailable")


def test_one_about_something_later_is_the_applications_own(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loses(house.main)
        ledger().sent += 1
        await tells(send, FAILED)

    house = House(app, clock)
    run(house.ask(client=client))

    assert (client.status, client.body) == (200, FAILED)


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b'{"cached": 1}'], JSON),
        ([b'{"data": null, ', b'"errors": [1]}'], JSON),  # a stream is not looked into
        ([FAILED], [(b"content-type", b"text/plain")]),
    ],
)
def test_whoever_copes_answers_once_and_need_not_wait_for_it_any_more(run, clock, parts, headers) -> None:
    runs = 0
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal runs
        runs += 1
        loses(house.main)
        ledger().databases.add("main")
        await tells(send, *parts, headers=headers)

    house = House(app, clock)
    run(house.ask(client=client))

    assert (client.status, client.body, runs) == (200, b"".join(parts), 1)
    assert house.replay.needs.none("GET", "/items")
