"""What clients are told whose requests a stop cuts short (SHD-1)."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_stage import Client, House, ledger, turns

from holdfast.asgi.attempts import in_own_task
from holdfast.policy.replay import Commit


async def cut_short(house: House, client: Client, method: str = "GET") -> None:
    asking = house.asks(method, client=client)
    await turns()
    house.door.close()
    house.door.cutting = True
    asking.cancel()
    await asyncio.wait([asking])
    assert not asking.cancelled()


@pytest.mark.parametrize(
    ("commit", "code"),
    [
        (Commit.NONE, "shutting_down"),
        (Commit.ROLLED_BACK, "shutting_down"),
        (Commit.UNKNOWN, "commit_outcome_unknown"),
        (Commit.COMMITTED, "applied_but_interrupted"),
    ],
)
def test_who_has_not_answered_is_told_what_became_of_it(run, clock, commit: Commit, code: str) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().settle(commit)
        await asyncio.sleep(60)

    run(cut_short(House(app, clock), client, "POST"))

    assert (client.status, client.problem["code"]) == (503, code)


def test_an_answer_that_was_kept_back_is_none(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"oh", "more_body": True})
        await asyncio.sleep(60)

    run(cut_short(House(app, clock), client))

    assert (client.status, client.problem["code"]) == (503, "shutting_down")


def test_an_answer_that_has_begun_ends_as_it_is(run, clock) -> None:
    client = Client()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    async def story() -> None:
        house = House(app, clock)
        asking = house.asks(client=client)
        await turns()
        house.door.cutting = True
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()

    run(story())

    assert [one["type"] for one in client.sent] == ["http.response.start"]


async def test_an_attempt_that_ends_before_its_first_step_is_closed() -> None:
    """REQ-2: Python complains of a coroutine that nobody ever awaited."""

    async def run() -> None:
        raise AssertionError("not to be run")

    exchange: Any = SimpleNamespace(task=None, context=copy_context(), expired=True)
    never_run = run()
    attempt = asyncio.ensure_future(in_own_task(exchange, never_run))
    await turns(1)
    exchange.task.cancel()  # as its deadline does

    assert await attempt is None
    assert inspect.getcoroutinestate(never_run) == inspect.CORO_CLOSED
