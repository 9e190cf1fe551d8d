"""Whatever the chunking and whoever reads when, every attempt reads the same bytes (REQ-4, property 19)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.asgi.body import Body
from holdfast.context import Request

pytestmark = pytest.mark.slow
CHUNKS = st.lists(st.binary(max_size=12), min_size=1, max_size=12)
BOUND = 40


class Server:
    """Gives the parts of a body in order, and then waits for ever, or tells that the client left."""

    def __init__(self, parts: list[bytes], *, leaves: bool) -> None:
        self._inbox = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]
        if leaves:
            self._inbox.append({"type": "http.disconnect"})
        self.given = 0

    async def receive(self) -> Any:
        await asyncio.sleep(0)
        if not self._inbox:
            await asyncio.Event().wait()
        message = self._inbox.pop(0)
        self.given += len(message.get("body", b""))
        return message


async def read(body: Body, most: int) -> tuple[bytes, bool]:
    """At most so many messages; what they held, and whether the body ended."""
    held = b""
    for _ in range(most):
        message = await body.receive()
        if message["type"] == "http.disconnect":
            return held, True
        held += message["body"]
        if not message["more_body"]:
            return held, True
    return held, False


@settings(max_examples=300, deadline=None)
@given(
    parts=CHUNKS,
    stops=st.lists(st.integers(0, 14), max_size=4),
    watches=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), min_size=5, max_size=5),
    leaves=st.booleans(),
)
def test_every_attempt_reads_the_same_bytes(parts, stops, watches, leaves) -> None:
    whole = b"".join(parts)

    async def story() -> None:
        request = Request("r", "PUT", "/", 0.0, 30.0)
        body = Body(request, Server(parts, leaves=leaves).receive, BOUND)
        for number, most in enumerate([*stops, 100]):
            watched, turns = watches[number]
            if watched:
                body.watch(lambda: None)
                for _ in range(turns):
                    await asyncio.sleep(0)
                body.unwatch()
            if not request.body_whole and number:
                break  # it could not be run again
            body.rewind()
            held, ended = await read(body, most)
            assert whole.startswith(held)
            if ended and not request.abandoned:
                assert held == whole
        body.close()
        assert sum(len(one["body"]) for one in body._kept) <= BOUND or not request.body_whole

    asyncio.run(story())


@settings(max_examples=200, deadline=None)
@given(parts=CHUNKS)
def test_a_body_is_kept_exactly_when_it_fits(parts) -> None:
    whole = b"".join(parts)

    async def story() -> None:
        request = Request("r", "PUT", "/", 0.0, 30.0)
        body = Body(request, Server(parts, leaves=False).receive, BOUND)
        assert await read(body, 100) == (whole, True)
        assert request.body_whole is (len(whole) <= BOUND)
        body.close()

    asyncio.run(story())


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=40))
def test_reading_ahead_is_bounded(parts) -> None:
    async def story() -> None:
        server = Server(parts, leaves=False)
        body = Body(Request("r", "PUT", "/", 0.0, 30.0), server.receive, BOUND)
        body.watch(lambda: None)
        for _ in range(200):
            await asyncio.sleep(0)
        assert server.given <= BOUND + 12
        body.close()

    asyncio.run(story())
