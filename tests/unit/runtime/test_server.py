"""uvicorn as a part: it starts and stops when we say so (BOOT-1, SHD-1)."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from holdfast.runtime.server import Server, Speech
from serving import REQUEST, Running, hello, until

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_it_serves_on_a_socket_of_ours() -> None:
    async with Running(hello) as one:
        reader, writer = await one.connect()
        writer.write(REQUEST)

        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        assert one.server.busy() == 0
        writer.close()


async def test_refusing_takes_no_further_connection_and_keeps_those_it_has() -> None:
    async with Running(hello) as one:
        reader, writer = await one.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        await one.server.refuse()
        await asyncio.sleep(0.02)

        with pytest.raises(ConnectionRefusedError):
            await one.connect()
        writer.write(REQUEST)
        assert await reader.readuntil(b"hello")
        writer.close()


async def test_hanging_up_closes_what_is_idle_and_lets_the_busy_answer() -> None:
    released = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await released.wait()
        await hello(scope, receive, send)

    async with Running(slow) as one:
        idle, idle_writer = await one.connect()
        idle_writer.write(REQUEST)
        await idle.readuntil(b"hello")
        busy, busy_writer = await one.connect()
        busy_writer.write(REQUEST.replace(b"/", b"/slow", 1))
        await until(lambda: one.server.busy() == 1)
        assert len(one.server.tasks()) == 1

        one.server.hang_up()

        assert await asyncio.wait_for(idle.read(), 5) == b""
        released.set()
        assert (await asyncio.wait_for(busy.read(), 5)).endswith(b"hello")
        await until(lambda: one.server.busy() == 0)
        idle_writer.close()
        busy_writer.close()


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_an_idle_connection_is_not_closed_on_a_request_that_has_arrived(http: str) -> None:
    """PRM-1: its time is up while the loop was too busy to read; uvicorn alone resets it."""
    async with Running(hello, http=http) as one:
        reader, writer = await one.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"hello")
        (connection,) = one.connections
        arrives(writer, REQUEST)
        connection.timeout_keep_alive_handler()

        assert (await asyncio.wait_for(reader.readuntil(b"hello"), 5)).startswith(b"HTTP/1.1 200")
        connection.timeout_keep_alive_handler()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize("used", [True, False])
async def test_hanging_up_answers_a_request_that_has_arrived(http: str, used: bool) -> None:
    """SHD-1: on a connection that was idle, or one that is new."""
    async with Running(hello, http=http) as one:
        reader, writer = await one.connect()
        if used:
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
        await until(lambda: one.connections)
        arrives(writer, REQUEST)
        one.server.hang_up()

        assert one.server.parting() == 1
        assert await asyncio.wait_for(reader.readuntil(b"hello"), 5)
        await until(lambda: one.server.parting() == 0)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_who_has_connected_and_asks_nothing_does_not_hold_the_stop() -> None:
    async with Running(hello) as one:
        reader, writer = await one.connect()
        await until(lambda: one.connections)
        one.server.hang_up()

        assert one.server.parting() == 1
        await until(lambda: one.server.parting() == 0)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_refusing_lets_in_who_is_connected_already() -> None:
    """SHD-1: the system accepts connections for us; closing the door would reset them."""
    async with Running(hello) as one:
        client = socket.create_connection(("127.0.0.1", one.port))  # the loop does not know of it yet
        client.sendall(REQUEST)
        client.setblocking(False)
        await one.server.refuse()

        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65536), 5)
        assert answer.startswith(b"HTTP/1.1 200")
        client.close()


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_refusing_lets_in_all_of_them(kind: str) -> None:
    """SHD-1: uvloop makes one of them a turn; the rest of the queue was reset."""
    loops = pytest.importorskip("uvloop").new_event_loop if kind == "uvloop" else asyncio.new_event_loop

    async def story() -> None:
        async with Running(hello) as one:
            clients = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(40)]
            for client in clients:
                client.sendall(REQUEST)
                client.setblocking(False)
            await one.server.refuse()

            assert len(one.connections) == 40
            loop = asyncio.get_running_loop()
            answers = [await asyncio.wait_for(loop.sock_recv(client, 65536), 5) for client in clients]
            assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}
            for client in clients:
                client.close()

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(story())


async def test_who_comes_after_the_hanging_up_is_told_too() -> None:
    """SHD-1: one whose protocol was made a turn later was served on in the application's shutdown."""
    async with Running(hello) as one:
        one.server.hang_up()
        assert one.server.parting() == 0
        asking, asking_writer = await one.connect()
        silent, silent_writer = await one.connect()
        asking_writer.write(REQUEST)
        await until(lambda: len(one.connections) == 2)
        await until(lambda: one.server.parting() == 0)

        assert (await asyncio.wait_for(asking.read(), 5)).startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(silent.read(), 5) == b""
        asking_writer.close()
        silent_writer.close()


async def test_a_handshake_under_way_is_waited_for() -> None:
    """SHD-1: its WebSocket is closed with 1012; at once, its client would be told 500."""
    released, accepted = asyncio.Event(), asyncio.Event()

    async def socket_of(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        accepted.set()
        await released.wait()
        await send({"type": "websocket.accept"})
        await receive()

    async with Running(socket_of, ws="websockets-sansio") as one:
        reader, writer = await one.connect()
        writer.write(HANDSHAKE)
        await asyncio.wait_for(accepted.wait(), 5)
        one.server.hang_up()
        assert one.server.parting() == 1
        released.set()

        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 101")
        await until(lambda: one.server.parting() == 0 or not one.connections)
        assert (await asyncio.wait_for(reader.readexactly(4), 5))[2:] == (1012).to_bytes(2, "big")
        writer.close()


def arrives(writer: asyncio.StreamWriter, request: bytes) -> None:
    """*request* lies at the server's side when this returns: its loop has had no turn to read it."""
    sock = writer.get_extra_info("socket")
    assert os.write(sock.fileno(), request) == len(request)


async def test_dropping_ends_every_connection() -> None:
    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()  # until its client leaves

    async with Running(stuck) as one:
        reader, writer = await one.connect()
        writer.write(REQUEST)
        await until(lambda: one.server.busy() == 1)

        one.server.drop()

        assert await asyncio.wait_for(reader.read(), 5) == b""
        await until(lambda: one.server.busy() == 0)
        writer.close()


async def test_one_that_never_listened_can_be_ended() -> None:
    await Server(hello, Speech()).end()
