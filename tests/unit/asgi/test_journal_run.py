"""A journaled request reaches the application as it was sent, and its answer is collected (JRN-2)."""

from __future__ import annotations

import asyncio
from typing import Any

from asgi_stage import answers, reads
from fastapi import FastAPI, Request
from journal_house import JournalHouse, order_scope
from starlette.responses import StreamingResponse

from holdfast.asgi.context import request_of
from holdfast.asgi.journal_run import CUT, LONGEST_ANSWER, Rerun, Runner
from holdfast.work.attempt import Absent, Applied, Raised
from holdfast.work.entry import Answer, Entry


async def journaled_entry(*parts: bytes, **changes: Any) -> Entry:
    """A request that was written down."""
    house = JournalHouse()
    await house.sent(order_scope(**changes), *parts)
    (entry,) = house.journal.entries.values()
    assert isinstance(entry, Entry)
    return entry


class Seeing:
    """An application that keeps what it was given."""

    def __init__(self) -> None:
        self.scope: Any = None
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.body = await reads(receive)
        await answers(send, 201, b"made")


async def test_the_application_sees_it_as_it_was_sent() -> None:
    headers = [(b"Content-Type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x-request-id", b"r-1")]
    sent = order_scope(
        path="/orders/ä", raw_path=b"/orders/%C3%A4", query_string=b"q=%20", headers=headers, root_path="/api"
    )
    app = Seeing()
    entry = await journaled_entry(b"one ", b"two", **sent)

    ended = await Runner(app)(entry)

    same = ("type", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path")
    assert {key: app.scope[key] for key in (*same, "server")} == {key: sent[key] for key in (*same, "server")}
    assert app.scope["headers"][:4] == headers
    assert app.scope["client"] == sent["client"]
    assert app.body == b"one two"
    assert ended == Answer(201, (), b"made")


async def test_it_is_told_when_it_was_journaled_and_nobody_else_can_say_so() -> None:
    app = Seeing()
    entry = await journaled_entry(headers=[(b"Holdfast-Journaled-At", b"yesterday")])
    await Runner(app)(entry)

    told = [value for name, value in app.scope["headers"] if name.lower() == b"holdfast-journaled-at"]
    assert len(told) == 1
    assert told[0].endswith(b"Z")


async def test_the_request_keeps_the_id_that_its_202_had() -> None:
    house = JournalHouse()
    _, client = await house.sent(order_scope(headers=[(b"x-request-id", b"not one!")]))
    (entry,) = house.journal.entries.values()
    app = Seeing()
    await Runner(app)(entry)

    assert request_of(app.scope, 30).id == client.headers["x-request-id"]


async def test_the_applications_headers_are_the_clients() -> None:
    """JRN-1: nothing is taken away, and nothing added but the moment."""
    sent = [(b"accept-encoding", b"gzip"), (b"cookie", b"a=1"), (b"x-request-id", b"not one!")]
    app = Seeing()
    await Runner(app)(await journaled_entry(headers=sent))

    assert app.scope["headers"][:-1] == sent
    assert app.scope["headers"][-1][0] == b"holdfast-journaled-at"


async def test_whoever_stands_between_finds_the_key_and_tells_of_refusals() -> None:
    async def between(scope: Any, receive: Any, send: Any) -> None:
        rerun = dict(scope)["holdfast.journal"]
        assert isinstance(rerun, Rerun)
        assert rerun.key == rerun.entry.new.key
        rerun.refused("database_unavailable")
        await answers(send, 503)

    assert await Runner(between)(await journaled_entry()) == Absent("database_unavailable")


async def test_an_effect_whose_answer_was_lost_is_not_run_again() -> None:
    async def between(scope: Any, receive: Any, send: Any) -> None:
        scope["holdfast.journal"].refused("applied_but_interrupted")
        await answers(send, 503)

    assert await Runner(between)(await journaled_entry()) == Applied("applied_but_interrupted")


async def test_a_refusal_that_is_nobodys_absence_is_an_answer() -> None:
    async def between(scope: Any, receive: Any, send: Any) -> None:
        scope["holdfast.journal"].refused("deadline_exceeded")
        await answers(send, 504, b"")

    assert await Runner(between)(await journaled_entry()) == Answer(504)


async def test_what_is_raised_after_the_answer_changes_nothing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send, 500, b"")
        raise ValueError("told already")

    assert await Runner(app)(await journaled_entry()) == Answer(500)


async def test_what_is_raised_instead_of_an_answer_is_the_cause_redacted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("no postgresql://app:secret@db/shop\nline two")

    ended = await Runner(app)(await journaled_entry())

    assert isinstance(ended, Raised)
    assert "secret" not in ended.cause
    assert "line two" not in ended.cause
    assert ended.cause.startswith("ValueError: no ")


async def test_no_answer_at_all_is_a_failure() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert await Runner(app)(await journaled_entry()) == Raised("the application gave no answer")


async def test_of_the_headers_those_that_say_what_it_is_are_kept() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Content-Type", b"text/plain"), (b"set-cookie", b"secret"), (b"location", b"/orders/7")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    ended = await Runner(app)(await journaled_entry())

    assert ended == Answer(201, ((b"content-type", b"text/plain"), (b"location", b"/orders/7")))


async def test_a_long_answer_is_cut_and_that_is_said() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"x" * 20000, "more_body": True})
        await send({"type": "http.response.body"})

    ended = await Runner(app)(await journaled_entry())

    assert isinstance(ended, Answer)
    assert len(ended.body) == LONGEST_ANSWER
    assert dict(ended.headers) == {CUT: b"100000"}


async def test_what_the_applications_lifespan_left_is_there_for_each_run() -> None:
    app = Seeing()
    state = {"pool": 1}
    await Runner(app, lambda: state)(await journaled_entry())

    assert app.scope["state"] == state
    assert app.scope["state"] is not state


async def test_an_application_that_streams_and_one_that_reads_its_body() -> None:
    """The client stays until it has its answer; then it is gone, so that nobody waits for it."""
    app = FastAPI()

    @app.post("/orders")
    async def stream(request: Request) -> StreamingResponse:
        body = await request.body()

        async def parts() -> Any:
            yield body
            await asyncio.sleep(0)
            yield b"!"

        return StreamingResponse(parts())

    ended = await Runner(app)(await journaled_entry(b"hello"))

    assert isinstance(ended, Answer)
    assert (ended.status, ended.body) == (200, b"hello!")
