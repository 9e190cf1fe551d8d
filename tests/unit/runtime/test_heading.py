"""Headers have a bound while they arrive (property 19: memory is bounded)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from holdfast.asgi.front import LONGEST_HEADERS
from holdfast.runtime import heading
from serving import REQUEST, Running, hello, until

HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "
PIECE = b"a" * 8192
PIECES = LONGEST_HEADERS // len(PIECE) + 1
BOTH = pytest.mark.parametrize("http", ["h11", "httptools"])
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(autouse=True)
def _without_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heading, "LINGER_S", 0.02)


async def reads(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection is closed."""
    return await asyncio.wait_for(reader.read(), 5)


async def sends(writer: asyncio.StreamWriter, *pieces: bytes) -> None:
    """Each of *pieces* by itself: the server's loop is ours, and reads in between."""
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        for _ in range(5):
            await asyncio.sleep(0)


async def too_late(one: Running) -> bytes:
    """What somebody reads who sends half a header now: the time for headers has gone by when it is read."""
    reader, writer = await one.connect()
    writer.write(HALF)
    answer = await reads(reader)
    writer.close()
    return answer


async def size(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes of the body."""
    got, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        got += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = str(got).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(text)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": text})


@pytest.mark.parametrize(
    "piece", [PIECE, b"x: 1\r\n" * 1024], ids=["one line without end", "lines without end"]
)
async def test_headers_without_end_are_refused_at_the_bound(piece: bytes) -> None:
    async with Running(hello, http="httptools") as one:
        reader, writer = await one.connect()
        await sends(writer, b"GET / HTTP/1.1\r\n" if piece != PIECE else HALF, *[piece] * 2 * PIECES)

        assert (await reads(reader)).startswith(b"HTTP/1.1 431 ")
        await until(lambda: not one.connections)
        writer.close()


async def test_what_is_sent_after_the_refusal_is_not_kept() -> None:
    async with Running(hello, http="httptools") as one:
        reader, writer = await one.connect()
        await sends(writer, HALF, *[PIECE] * PIECES)
        (connection,) = one.connections
        kept = connection.heading.size
        await sends(writer, *[PIECE] * PIECES)

        assert connection.heading.size == kept
        assert (await reads(reader)).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_those_of_h11_have_its_own_bound() -> None:
    async with Running(hello, http="h11") as one:
        reader, writer = await one.connect()
        writer.write(HALF + PIECE * PIECES)

        assert (await reads(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()


@BOTH
async def test_half_a_header_is_waited_for_no_longer_than_allowed(http: str) -> None:
    async with Running(hello, headers_within=0.05, http=http) as one:
        assert (await too_late(one)).startswith(b"HTTP/1.1 408 ")


@BOTH
async def test_so_is_that_of_a_later_request(http: str) -> None:
    async with Running(hello, headers_within=0.05, http=http) as one:
        reader, writer = await one.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        writer.write(HALF)

        assert (await reads(reader)).startswith(b"HTTP/1.1 408 ")
        writer.close()


@BOTH
async def test_a_connection_that_has_sent_nothing_is_not_timed(http: str) -> None:
    async with Running(hello, headers_within=0.05, http=http) as one:
        reader, writer = await one.connect()
        await until(lambda: one.connections)
        assert await too_late(one)
        writer.write(REQUEST)

        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.close()


@BOTH
async def test_headers_in_pieces_are_served_however_long_their_answer_takes(http: str) -> None:
    answered = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await answered.wait()
        await hello(scope, receive, send)

    async with Running(slow, headers_within=0.05, http=http) as one:
        reader, writer = await one.connect()
        await sends(writer, REQUEST[:20], REQUEST[20:])
        await until(lambda: one.server.busy())
        assert await too_late(one)
        answered.set()

        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_body_is_not_counted(framing: str) -> None:
    whole = PIECE * PIECES * 2
    chunks = [b"%x\r\n%b\r\n" % (len(PIECE), PIECE)] * PIECES * 2
    header = b"Content-Length: %d" % len(whole) if framing == "length" else b"Transfer-Encoding: chunked"
    async with Running(size, headers_within=0.05, http="httptools") as one:
        reader, writer = await one.connect()
        await sends(writer, b"POST / HTTP/1.1\r\nHost: x\r\n", header + b"\r\n\r\n")
        assert await too_late(one)
        await sends(writer, *([PIECE] * PIECES * 2 if framing == "length" else [*chunks, b"0\r\n\r\n"]))
        writer.write(HALF)  # begins in one piece with what came before, or after it

        assert await reader.readuntil(str(len(whole)).encode())
        assert (await reads(reader)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_body_that_ends_where_the_next_headers_begin_does_not_count_as_theirs() -> None:
    body = PIECE * PIECES
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with Running(size, http="httptools") as one:
        reader, writer = await one.connect()
        writer.write(post + body + HALF)
        assert await reader.readuntil(str(len(body)).encode())
        writer.write(b"\r\n\r\n")

        assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_trailers_without_end_end_the_connection() -> None:
    async with Running(size, http="httptools") as one:
        _, writer = await one.connect()
        begins = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        with contextlib.suppress(ConnectionError):  # the server does not wait for the rest
            await sends(writer, begins, b"5\r\nhello\r\n0\r\nX-Trailer: ", *[PIECE] * 2 * PIECES)

        await until(lambda: not one.connections)
        await until(lambda: one.server.busy() == 0)
        writer.close()


async def test_bodies_of_nothing_do_not_add_up() -> None:
    begins = b"POST / HTTP/1.1\r\nHost: x\r\nX-Pad: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % (PIECE * 7)
    async with Running(size, http="httptools") as one:
        reader, writer = await one.connect()
        for _ in range(3):
            await sends(writer, begins, b"0\r\n\r\n")

            assert await reader.readuntil(b"\r\n\r\n0")
        writer.close()


async def test_the_answer_before_is_not_cut_by_the_headers_that_follow_it() -> None:
    answered = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await answered.wait()
        await hello(scope, receive, send)

    async with Running(slow, headers_within=0.05, http="httptools") as one:
        reader, writer = await one.connect()
        writer.write(REQUEST)
        await until(lambda: one.server.busy() == 1)
        writer.write(HALF + PIECE * PIECES * 2)
        (connection,) = one.connections
        await until(lambda: connection.flow.read_paused or connection.heading)
        assert await too_late(one)
        answered.set()

        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        assert (await reads(reader))[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 408")
        writer.close()


@BOTH
async def test_a_websocket_is_neither_counted_nor_timed(http: str) -> None:
    got = []

    async def counts(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            got.append(len(message["bytes"]))

    async with Running(counts, headers_within=0.05, http=http) as one:
        reader, writer = await one.connect()
        await sends(writer, HANDSHAKE[:30], HANDSHAKE[30:])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        other, other_writer = await one.connect()
        await sends(other_writer, HANDSHAKE)
        assert (await other.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await too_late(one)
        frame = b"\x82\xfe\x20\x00\0\0\0\0" + PIECE
        await sends(writer, *[frame] * PIECES)

        await until(lambda: got == [len(PIECE)] * PIECES)
        writer.close()
        other_writer.close()
        await until(lambda: not one.connections and not one.server.busy())
