"""What we ask the application ourselves never stands in its way (PRM-5, HLT-1, REQ-9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import answers, scope_of
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from holdfast.asgi.asking import ask
from holdfast.asgi.cors import Cors


async def listens(receive: Any, turns: int = 10_000) -> int:
    """Listens for the client's leaving, as Starlette does; how often it was told something else."""
    for told in range(turns):
        if (await receive())["type"] == "http.disconnect":
            return told
    raise AssertionError("it is told for ever that there is a body")


async def streams(scope: Any, receive: Any, send: Any) -> None:
    """Answers beside listening, both until the end."""
    async with asyncio.TaskGroup() as group:
        group.create_task(listens(receive))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        for _ in range(3):
            await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def test_it_may_listen_for_the_clients_leaving() -> None:
    start = await ask(streams, scope_of())

    assert start is not None
    assert start["status"] == 204


async def test_and_is_told_of_an_empty_body_once() -> None:
    told: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send)
        told.append(await listens(receive))

    await ask(app, scope_of())

    assert told == [1]


def test_one_that_only_listens_is_left_in_time(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await listens(receive)

    assert run(ask(app, scope_of())) is None
    assert clock.now == 1001.0


async def test_a_streamed_preflight_of_starlettes_does_not_stop_the_loop() -> None:
    async def preflight(request: Any) -> StreamingResponse:
        async def nothing() -> Any:
            yield b""

        return StreamingResponse(nothing(), headers={"access-control-allow-origin": "https://shop.example"})

    app = Starlette(routes=[Route("/items", preflight, methods=["OPTIONS"])])
    scope = {**scope_of(), "asgi": {"spec_version": "2.3"}}
    found = dict(await Cors(app, None).headers(scope, b"https://shop.example"))

    assert found[b"access-control-allow-origin"] == b"https://shop.example"


@pytest.mark.parametrize("trouble", ["raises", "cancels", "silent", "late"])
def test_what_fails_has_not_answered(run, clock, trouble: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if trouble == "silent":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if trouble == "raises":
            raise RuntimeError("no")
        if trouble == "cancels":
            raise asyncio.CancelledError
        await asyncio.sleep(3600)

    assert run(ask(app, scope_of())) is None


def test_one_that_shields_what_it_does_is_not_waited_for(run, clock) -> None:
    """Closing a connection to a silent database can take long, whoever is cancelled."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    async def story() -> float:
        assert await ask(app, scope_of()) is None
        return float(clock.now)

    assert run(story()) == 1001.0


def test_what_it_does_after_a_complete_answer_takes_nothing_back(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send)
        await asyncio.sleep(3600)

    start = run(ask(app, scope_of()))

    assert start is not None
    assert start["status"] == 200
