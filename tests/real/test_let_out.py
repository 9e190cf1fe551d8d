"""ERR-3, ERR-4, ERR-5, ERR-7: what an application lets out is answered, told once, and kills nothing."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from running import Running, Shop, running

from holdfast.drill.postgresql import PostgreSQL

CARELESS = Shop("careless", "careless_shop:app", "asyncpg")


@pytest.fixture(scope="module")
def shop(shared_postgresql: PostgreSQL) -> Iterator[Running]:
    wanted = {**CARELESS.environment(shared_postgresql), "APP_ENV": "production"}
    with running(CARELESS, wanted) as one:
        yield one


def ask(shop: Running, path: str, body: dict[str, Any] | None = None) -> tuple[int, str, dict[str, Any]]:
    """Status, media type and JSON body of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{shop.url}{path}", data, {"content-type": "application/json"})
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        return answer.status, answer.headers["content-type"], json.load(answer)


def logged(shop: Running, words: str, within: float = 5.0) -> str:
    """The first log line with *words*; the log is written a moment after what it tells."""
    give_up_at = time.monotonic() + within
    while time.monotonic() < give_up_at:
        for line in shop.output.splitlines():
            if words in line:
                return line
        time.sleep(0.02)
    raise AssertionError(f"{words!r} was not logged:\n{shop.output}")


def test_a_duplicate_key_names_the_field_and_no_value(shop: Running) -> None:
    """ERR-5."""
    assert ask(shop, "/customers", {"email": "ann@example.com"})[0] == 201
    status, kind, body = ask(shop, "/customers", {"email": "ann@example.com"})

    assert (status, kind, body["code"]) == (409, "application/problem+json", "duplicate_key")
    assert "email" in json.dumps(body)
    assert "ann@" not in json.dumps(body)
    assert "ann@" not in shop.output


def test_a_value_that_the_database_refuses_is_no_fault_of_ours(shop: Running) -> None:
    status, _, body = ask(shop, "/customers", {"email": "bob@example.com", "age": -1})

    assert status in (409, 422)
    assert body["category"] in ("validation", "conflict")


def test_an_error_in_production_tells_its_client_nothing(shop: Running) -> None:
    """ERR-4: but the log has it, once, with the request's id."""
    status, kind, body = ask(shop, "/broken")

    assert (status, kind, body["code"]) == (500, "application/problem+json", "internal_error")
    assert "hunter2" not in json.dumps(body)
    assert "RuntimeError" in logged(shop, body["requestId"])
    assert shop.output.count(body["requestId"]) == logged(shop, body["requestId"]).count(body["requestId"])


@pytest.mark.parametrize(("path", "words"), [("/task", "nobody awaits me"), ("/thread", "nobody joins me")])
def test_errors_outside_requests_are_told_and_the_process_lives(shop: Running, path: str, words: str) -> None:
    """ERR-7."""
    assert ask(shop, path)[0] == 200
    assert ask(shop, "/health")[0] == 200
    assert "uncaught_error" in logged(shop, words)


def test_an_answer_waits_for_the_commit_that_comes_after_it(
    shop: Running, shared_postgresql: PostgreSQL
) -> None:
    """REQ-4: the 201 is sent before the commit; nobody sees it before the row is there."""
    for number in range(20):
        assert ask(shop, "/customers", {"email": f"c{number}@example.com"})[0] == 201
        found = shared_postgresql.execute(
            f"SELECT count(*) FROM customers WHERE email = 'c{number}@example.com'"
        )

        assert found == [("1",)]
