"""From a scope to a request: its id, its deadline, its key (REQ-1, REQ-2, REQ-5)."""

from __future__ import annotations

import re

import pytest
from asgi_stage import scope_of

from holdfast.asgi.context import FOREVER_S, background, path_in, request_of

MADE = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("given", [b"a", b"trace-1", b"A.b_c-9", b"x" * 128])
def test_a_good_id_is_taken_over(given: bytes) -> None:
    assert request_of(scope_of(headers=[(b"x-request-id", given)]), 30).id == given.decode()


@pytest.mark.parametrize(
    "given",
    [b"", b"x" * 129, b"a b", b"id\n", b"id\r\nX-Evil: 1", b"\xff", "ü".encode(), b"<script>", b"a,b"],
)
def test_any_other_is_replaced(given: bytes) -> None:
    """REQ-1: nothing that could forge a log line or a header gets through."""
    request = request_of(scope_of(headers=[(b"x-request-id", given)]), 30)

    assert MADE.fullmatch(request.id)


def test_made_ids_differ() -> None:
    assert len({request_of(scope_of(), 30).id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("agent", "seconds"),
    [
        (b"Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", 30.0),
        (b"Mozilla/5.0 (Linux; Android 14) Chrome/126.0 Mobile Safari/537.36", 60.0),
        (b"curl/8.5", 30.0),
        (b"", 30.0),
    ],
)
def test_mobile_clients_have_twice_the_time(agent: bytes, seconds: float) -> None:
    request = request_of(scope_of(headers=[(b"user-agent", agent)]), 30)

    assert request.deadline_at - request.arrived_at == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, None), (b"k-1", "k-1"), (b" k-1 ", "k-1"), (b"", None), (b"   ", None), (b"k" * 256, None)],
)
def test_the_idempotency_key(given: bytes | None, expected: str | None) -> None:
    headers = [] if given is None else [(b"idempotency-key", given)]

    assert request_of(scope_of("POST", headers=headers), 30).key == expected


def test_a_websocket_has_no_deadline_and_is_never_run_again() -> None:
    request = request_of({"type": "websocket", "path": "/ws", "headers": []}, 30)

    assert request.deadline_at - request.arrived_at >= FOREVER_S * 0.99
    assert not request.may_run_again()


def test_work_outside_requests_is_never_run_again() -> None:
    assert not background("lifespan").may_run_again()


def test_who_asks() -> None:
    assert request_of(scope_of(), 30).client == "10.0.0.9"
    assert request_of({**scope_of(), "client": None}, 30).client is None


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("", "/api/orders", "/api/orders"),
        ("/api", "/api/orders", "/orders"),
        ("/api", "/api/api/orders", "/api/orders"),
        ("/api", "/apis/orders", "/apis/orders"),
        ("/api", "/orders", "/orders"),
        ("/api", "/api", ""),
    ],
)
def test_its_path_is_the_one_its_routes_name(root: str, path: str, expected: str) -> None:
    """PRM-5: a server puts the path that a proxy has taken away before each."""
    scope = {**scope_of(path=path), "root_path": root}

    assert path_in(scope) == expected
    assert request_of(scope, 30).path == expected
