"""Answers that were made before what they acknowledge was saved (TXN-4, REQ-4, property 16)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, House, answers, ledger

from holdfast.events import AnsweredEarly
from holdfast.policy.replay import Commit


class RefusedError(Exception):
    sqlstate = "23505"


def begins_to_write() -> None:
    ledger().open_writes = 1


def ends(commit: Commit, refused: Exception | None = None) -> None:
    one = ledger()
    one.open_writes = 0
    one.settle(commit)
    one.refused = refused


@pytest.mark.parametrize("let_out", [True, False], ids=["raised", "swallowed"])
def test_a_refused_commit_takes_the_place_of_its_acknowledgment(run, clock, let_out: bool) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begins_to_write()
        await answers(send, 201, b"created")
        ends(Commit.ROLLED_BACK, error := RefusedError("duplicate key"))
        if let_out:
            raise error

    if let_out:
        with pytest.raises(RefusedError):
            run(House(app, clock).ask("POST", client=client))
    else:
        run(House(app, clock).ask("POST", client=client))

    assert (client.status, client.problem["category"]) == (409, "conflict")


def test_one_that_was_refused_before_the_answer_was_made_is_in_it(run, clock) -> None:
    """PRM-5: whoever meets a duplicate and says "it is there already" knows what happened."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begins_to_write()
        ends(Commit.ROLLED_BACK, RefusedError("duplicate key"))
        begins_to_write()  # what it notes of that
        await answers(send, 200, b"already there")
        ends(Commit.ROLLED_BACK, ledger().refused)  # type: ignore[arg-type]

    run(House(app, clock).ask("POST", client=client))

    assert (client.status, client.body) == (200, b"already there")


def test_a_rollback_of_its_own_is_no_failure(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begins_to_write()
        await answers(send, 200, b"a rehearsal")
        ends(Commit.ROLLED_BACK)

    run(House(app, clock).ask("POST", client=client))

    assert (client.status, client.body) == (200, b"a rehearsal")


def test_what_a_session_has_not_sent_yet_keeps_the_answer_back(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        orders = ["unsent"]
        ledger().unsaved.append(lambda: bool(orders))
        await answers(send, 201, b"created")
        assert client.sent == []
        orders.clear()
        ledger().settle(Commit.COMMITTED)

    run(House(app, clock).ask("POST", client=client))

    assert (client.status, client.body) == (201, b"created")


def test_a_stream_does_not_wait_for_what_it_saves_at_its_end(run, clock) -> None:
    """PRM-5: a conversation is added to a session, told word by word, and saved when it is over."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().unsaved.append(lambda: True)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"word", "more_body": True})
        await asyncio.sleep(0.15)
        assert client.body == b"word"
        await send({"type": "http.response.body", "body": b"s"})

    house = House(app, clock)
    run(house.ask("POST", client=client))

    assert client.body == b"words"
    assert not [one for one in house.told if isinstance(one, AnsweredEarly)]


def test_one_that_comes_in_pieces_and_is_whole_at_once_is_no_stream(run, clock) -> None:
    """Middleware cuts answers into pieces."""
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().unsaved.append(lambda: True)
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"created", "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await asyncio.sleep(3)
        assert client.sent == []

    run(House(app, clock).ask("POST", client=client))

    assert client.body == b"created"


def test_a_read_is_not_kept_for_what_a_session_has_not_sent(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().unsaved.append(lambda: True)
        await answers(send)
        assert client.body == b"fine"

    run(House(app, clock).ask(client=client))


def test_it_leaves_soon_after_its_transaction_though_the_application_goes_on(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begins_to_write()
        await answers(send, 201, b"created")
        await asyncio.sleep(3)
        assert client.sent == []
        ends(Commit.COMMITTED)
        await asyncio.sleep(0.2)
        assert client.body == b"created"
        await asyncio.sleep(60)

    run(House(app, clock).ask("POST", client=client))


def test_one_that_is_all_there_waits_ten_seconds_and_then_it_is_told(run, clock) -> None:
    """PRM-3: an answer that acknowledges too early is seen, once a route."""
    clients = [Client(), Client()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        client = clients[house.runs]
        begins_to_write()
        await answers(send, 201, b"created")
        await asyncio.sleep(9.9)
        assert client.sent == []
        await asyncio.sleep(0.3)
        assert client.body == b"created"
        ends(Commit.COMMITTED)

    house = House(app, clock)
    for number, client in enumerate(clients):
        house.runs = number  # type: ignore[attr-defined]
        run(house.ask("POST", client=client))

    early = [one for one in house.told if isinstance(one, AnsweredEarly)]
    assert [(one.method, one.status) for one in early] == [("POST", 201)]
    assert early[0].kept_s == pytest.approx(10.0, abs=0.2)
