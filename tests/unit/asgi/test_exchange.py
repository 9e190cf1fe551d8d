"""What is kept back of an answer, for how long and how much; and our own in its place (REQ-4, TXN-4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, House, answers, ledger, loses, turns

from holdfast.asgi.exchange import KEPT_BYTES
from holdfast.events import Event, RequestFailed
from holdfast.policy.replay import Commit


async def starts(send: Any, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})


async def sends(send: Any, body: bytes, *, more: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


def test_an_answer_passes_at_once_and_untouched(run, clock) -> None:
    """PRM-5: only its request id is added."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await starts(send)
        assert len(client.sent) == 1
        await sends(send, b"a", more=True)
        assert len(client.sent) == 2
        await sends(send, b"b")

    run(House(app, clock).ask(client=client))

    assert [one["type"] for one in client.sent] == ["http.response.start"] + ["http.response.body"] * 2
    assert list(client.headers) == ["x-request-id"]


def test_the_start_is_kept_while_a_fault_is_unresolved(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not client.sent and ledger().attempts == 0 and clock.now == 1000.0:
            clock.now += 1
            loses(house.main)
            await starts(send, 500)
            await sends(send, b"oh no")
            assert client.sent == []
        else:
            await answers(send)

    house = House(app, clock)
    run(house.ask(client=client))

    assert (client.status, client.body) == (200, b"fine")


def test_an_answer_waits_for_the_end_of_its_transaction(run, clock) -> None:
    """TXN-4: it may acknowledge only what is committed (FastAPI answers before it cleans up)."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().open_writes = 1
        await answers(send, 201, b"created")
        assert client.sent == []
        ledger().open_writes = 0
        ledger().settled = Commit.COMMITTED

    run(House(app, clock).ask("POST", client=client))

    assert (client.status, client.body) == (201, b"created")


def test_what_was_acknowledged_before_a_commit_that_failed_is_never_seen(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().open_writes = 1
        await answers(send, 201, b"created")
        ledger().open_writes = 0
        ledger().settled = Commit.UNKNOWN
        raise loses(house.main)

    house = House(app, clock)
    run(house.ask("POST", client=client))

    assert (client.status, client.problem["code"]) == (503, "commit_outcome_unknown")


def test_its_rest_leaves_when_the_transaction_ends_between_two_chunks(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().open_writes = 1
        await starts(send)
        await sends(send, b"1", more=True)
        assert client.sent == []
        ledger().open_writes = 0
        await sends(send, b"2", more=True)
        assert client.body == b"12"
        await sends(send, b"3")

    run(House(app, clock).ask(client=client))

    assert client.body == b"123"


def test_a_transaction_that_stays_open_holds_a_stream_for_a_second(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().open_writes = 1
        await starts(send)
        await sends(send, b"1", more=True)
        await asyncio.sleep(0.9)
        assert client.sent == []
        await asyncio.sleep(0.2)
        assert client.body == b"1"
        await sends(send, b"2")

    run(House(app, clock).ask(client=client))

    assert client.body == b"12"


@pytest.mark.parametrize("chunk", [1000, KEPT_BYTES + 1])
def test_what_is_kept_back_is_bounded(run, clock, chunk: int) -> None:
    """Property 19."""
    client = Client()
    body = b"x" * chunk
    most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        ledger().open_writes = 1
        await starts(send)
        sent = 0
        while not client.sent:
            most = sent
            await sends(send, body, more=True)
            sent += chunk
        await sends(send, b"")

    run(House(app, clock).ask(client=client))

    assert most <= KEPT_BYTES
    assert len(client.body) > KEPT_BYTES


def test_an_error_answer_over_the_bound_leaves_and_is_not_replayed(run, clock) -> None:
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        loses(house.main)
        await starts(send, 500)
        await sends(send, b"x" * (KEPT_BYTES + 1))

    house = House(app, clock)
    client = run(house.ask())

    assert (client.status, len(client.body), len(runs)) == (500, KEPT_BYTES + 1, 1)


def test_a_500_is_replaced_when_the_application_lets_its_error_out(run, clock, told: list[Event]) -> None:
    """ERR-3: a framework's stock answer makes room for ours; the error goes on to the server."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send, 500, b"Internal Server Error")
        assert client.sent == []
        raise KeyError("secret-host.internal")

    with pytest.raises(KeyError):
        run(House(app, clock).ask(client=client))

    assert client.headers["content-type"] == "application/problem+json"
    assert client.problem["code"] == "internal_error"
    assert b"secret-host" not in client.body
    assert [type(one) for one in told[1:]] == [RequestFailed]


def test_an_error_page_of_its_own_stays_its_own(run, clock) -> None:
    """PRM-5."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send, 500, b"<h1>We are sorry</h1>")
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(House(app, clock).ask(client=client))
    assert client.body == b"<h1>We are sorry</h1>"


def test_an_exception_without_an_answer_gets_ours(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("password=hunter2 in /srv/shop.py")

    with pytest.raises(ValueError):
        run(House(app, clock).ask(client=client))

    assert (client.status, client.problem["code"]) == (500, "internal_error")
    assert "debug" not in client.problem  # ERR-4
    assert b"hunter2" not in client.body


def test_in_development_the_error_is_told_and_its_secrets_are_not(run, clock) -> None:
    """ERR-4."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("cannot use postgresql://app:hunter2@db/shop")

    with pytest.raises(ValueError):
        run(House(app, clock, production=False).ask(client=client))

    assert client.problem["debug"].startswith("ValueError: cannot use postgresql://")
    assert b"hunter2" not in client.body


def test_the_simple_format(run, clock) -> None:
    """ERR-3: HOLDFAST_ERROR_FORMAT=simple."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise loses(house.main)

    house = House(app, clock, style="simple")
    run(house.ask("POST", client=client))

    assert client.headers["content-type"] == "application/json"
    assert {"error", "message", "status", "requestId", "retryAfter"} == client.problem.keys()


def test_a_head_request_gets_the_headers_of_ours_without_its_body(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise loses(house.main)

    house = House(app, clock)
    client = run(house.ask("HEAD"))

    assert client.body == b""
    assert int(client.headers["content-length"]) > 100


def test_nothing_follows_a_complete_answer(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send)
        await sends(send, b"and another thing")

    client = run(House(app, clock).ask())

    assert client.body == b"fine"


def test_a_pushed_message_ends_keeping(run, clock) -> None:
    """What is not a body (a path to send, trailers) cannot be kept: it leaves in order."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().open_writes = 1
        await starts(send)
        await send({"type": "http.response.pathsend", "path": "/tmp/file"})
        await turns()

    client = run(House(app, clock).ask())

    assert [one["type"] for one in client.sent] == ["http.response.start", "http.response.pathsend"]


@pytest.mark.parametrize("word", ["pending", "ending"])
def test_an_answer_waits_for_a_commit_that_is_on_its_way_however_long(run, clock, word) -> None:
    """REQ-4: a COMMIT in doubt is asked about for as long as the outage lasts."""
    told: list[int] = []
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        one = ledger()
        one.open_writes = 1
        await answers(send)
        setattr(one, word, 1)
        await asyncio.sleep(5)
        told.append(len(client.starts))
        setattr(one, word, 0)
        one.open_writes = 0
        raise loses(house.main)

    house = House(app, clock)
    run(house.ask("POST", client=client))

    assert told == [0], "nothing has left while it was on its way"
    assert client.status == 503
