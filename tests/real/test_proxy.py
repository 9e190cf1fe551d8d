"""Each fault of the proxy does to a TCP connection what its name says, and heal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from holdfast.drill.toxics import (
    Bandwidth,
    Direction,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)

SILENCE = 0.15  # how long we listen before we call it silence
SOON = 5.0  # how long we wait for what must come


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets, in order, until the client's end."""

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65_536):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
async def proxy(echo: int) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", echo) as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count: int) -> bytes:
        async with asyncio.timeout(SOON):
            return await self.reader.readexactly(count)

    async def silent(self) -> bool:
        try:
            async with asyncio.timeout(SILENCE):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def echoes(self, data: bytes) -> bool:
        await self.say(data)
        return await self.hear(len(data)) == data

    async def is_reset(self) -> bool:
        try:
            async with asyncio.timeout(SOON):
                await self.reader.read(1)
        except ConnectionResetError:
            return True
        return False


@contextlib.asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


# ── nothing wrong ────────────────────────────────────────────────────────────────────────────────


async def test_without_a_fault_everything_passes(proxy: Proxy) -> None:
    async with client(proxy) as one:
        assert await one.echoes(b"hello")


async def test_a_half_close_arrives_and_the_answer_still_comes(proxy: Proxy) -> None:
    async with client(proxy) as one:
        await one.say(b"last words")
        one.writer.write_eof()

        assert await one.hear(10) == b"last words"
        assert await one.reader.read() == b""


async def test_a_client_that_does_not_read_slows_the_sender_down(proxy: Proxy) -> None:
    """Back-pressure: the proxy does not keep what nobody takes."""
    async with client(proxy) as one:
        one.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.say(bytes(100_000_000)), 1)
        one.writer.transport.resume_reading()  # type: ignore[attr-defined]

        assert await one.hear(1_000_000) == bytes(1_000_000)
        one.writer.transport.abort()


async def test_connections_and_bytes_are_counted(proxy: Proxy) -> None:
    async with client(proxy) as one:
        await one.echoes(b"12345")

        counted = proxy.counters
        assert (counted.connections, counted.open, counted.upstream, counted.downstream) == (1, 1, 5, 5)


# ── the path ─────────────────────────────────────────────────────────────────────────────────────


async def test_reset_all_resets_every_open_connection(proxy: Proxy) -> None:
    async with client(proxy) as one, client(proxy) as other:
        assert await one.echoes(b"1")
        assert await other.echoes(b"2")

        assert proxy.reset_all() == 2

        assert await one.is_reset()
        assert await other.is_reset()
    async with client(proxy) as third:
        assert await third.echoes(b"3")


async def test_refused_means_that_connects_fail_and_connections_are_reset(proxy: Proxy) -> None:
    async with client(proxy) as one:
        assert await one.echoes(b"1")

        proxy.refuse()

        assert await one.is_reset()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.heal()
    async with client(proxy) as other:
        assert await other.echoes(b"2")


async def test_a_connection_that_lost_bytes_stays_silent_after_heal(proxy: Proxy) -> None:
    async with client(proxy) as victim, client(proxy) as spared:
        assert await victim.echoes(b"1")
        assert await spared.echoes(b"2")
        proxy.black_hole()
        await victim.say(b"lost")
        assert await victim.silent()

        proxy.heal()

        await victim.say(b"also lost")
        assert await victim.silent()
        assert await spared.echoes(b"3")


async def test_a_black_hole_accepts_connections_and_never_answers_them(proxy: Proxy) -> None:
    proxy.black_hole()
    async with client(proxy) as early, client(proxy) as patient:
        await early.say(b"lost")
        assert await early.silent()

        proxy.heal()

        assert await early.silent()
        assert await patient.echoes(b"lost nothing")


async def test_a_black_hole_swallows_the_end_of_a_connection_too(proxy: Proxy) -> None:
    """The server does not learn that its client left until the path is back."""
    async with client(proxy) as one:
        assert await one.echoes(b"1")
        proxy.black_hole()
    await asyncio.sleep(SILENCE)
    assert proxy.counters.open == 1

    proxy.heal()

    async with asyncio.timeout(SOON):
        while proxy.counters.open:
            await asyncio.sleep(0.01)


async def test_a_stall_delivers_everything_in_order_after_heal(proxy: Proxy) -> None:
    async with client(proxy) as one:
        assert await one.echoes(b"1")
        proxy.stall()
        await one.say(b"first ")
        await one.say(b"second")
        async with client(proxy) as new:
            await new.say(b"new")
            assert await one.silent()
            assert await new.silent()

            proxy.heal()

            assert await one.hear(12) == b"first second"
            assert await new.hear(3) == b"new"


# ── cuts ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [0, 1, 4])
async def test_a_cut_comes_after_exactly_so_many_bytes(proxy: Proxy, count: int) -> None:
    async with client(proxy) as one:
        assert await one.echoes(b"1")
        proxy.cut_after(count)

        await one.say(b"12345")

        assert await one.hear(count) == b"12345"[:count]
        assert await one.is_reset()
    assert proxy.counters.cuts == 1
    async with client(proxy) as other:
        assert await other.echoes(b"cut once only")


async def test_a_server_that_is_away_resets_the_client(echo: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with Proxy("127.0.0.1", port) as proxy, client(proxy) as one:
        assert await one.is_reset()


@pytest.mark.parametrize(("before", "expected"), [(True, []), (False, [("1",)])])
async def test_cutting_at_commit_decides_whether_it_was_applied(
    postgresql: PostgreSQL, before: bool, expected: list[tuple[str, ...]]
) -> None:
    postgresql.execute("CREATE TABLE orders (id int)")
    async with postgresql.proxied() as proxy:
        proxy.cut_when(commits, before=before)
        connection = await asyncpg.connect(postgresql.url(None, port=proxy.port))

        with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
            async with connection.transaction():
                await connection.execute("INSERT INTO orders VALUES (1)")

        assert proxy.counters.cuts == 1
        assert postgresql.execute("SELECT id FROM orders") == expected
        again = await asyncpg.connect(postgresql.url(None, port=proxy.port))
        async with again.transaction():
            await again.execute("INSERT INTO orders VALUES (2)")
        await again.close()


# ── toxics ───────────────────────────────────────────────────────────────────────────────────────


async def test_latency_delays_and_does_not_slow_down(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(Latency(200))
        started = time.monotonic()
        for number in range(20):
            await one.say(b"%2d" % number)
            await asyncio.sleep(0.005)

        assert await one.hear(40) == b"".join(b"%2d" % number for number in range(20))
        assert 0.2 <= time.monotonic() - started < 2.0  # one after the other it would be 4 s


async def test_bandwidth_takes_the_time_it_must(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(Bandwidth(rate=100))
        started = time.monotonic()

        assert await one.echoes(bytes(20_000))
        assert time.monotonic() - started >= 0.2


async def test_timeout_of_zero_swallows_and_stays_open(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(Timeout(0))
        await one.say(b"lost")
        assert await one.silent()
        assert proxy.counters.upstream == 4
        proxy.heal()
        await one.say(b"lost")
        assert await one.silent()


async def test_timeout_swallows_and_closes(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(Timeout(50))
        await one.say(b"lost")

        async with asyncio.timeout(SOON):
            assert await one.reader.read(1) == b""


async def test_reset_peer_resets_present_and_new_connections(proxy: Proxy) -> None:
    async with client(proxy) as one:
        assert await one.echoes(b"1")
        proxy.add(ResetPeer(10))
        assert await one.is_reset()
    async with client(proxy) as other:
        assert await other.is_reset()


async def test_slicer_changes_nothing_but_the_pieces(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(Slicer(average_size=3, size_variation=2, delay=100), Direction.UPSTREAM)

        assert await one.echoes(bytes(range(200)))


async def test_limit_data_closes_after_so_many_bytes(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(LimitData(3))
        await one.say(b"12345")

        async with asyncio.timeout(SOON):
            assert await one.reader.read() == b"123"


async def test_slow_close_tells_the_end_late(proxy: Proxy) -> None:
    async with client(proxy) as one:
        proxy.add(SlowClose(200))
        started = time.monotonic()
        one.writer.write_eof()

        assert await one.reader.read() == b""
        assert time.monotonic() - started >= 0.2


async def test_a_toxicity_of_zero_touches_nobody(proxy: Proxy) -> None:
    proxy.add(Timeout(0), toxicity=0.0)
    async with client(proxy) as one:
        assert await one.echoes(b"1")


async def test_heal_ends_toxics(proxy: Proxy) -> None:
    proxy.add(Latency(60_000))
    proxy.heal()
    async with client(proxy) as one:
        assert await one.echoes(b"1")


# ── threads ──────────────────────────────────────────────────────────────────────────────────────


def test_on_a_thread_of_its_own_it_is_told_from_any_other(echo: int) -> None:
    with Proxy("127.0.0.1", echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as one:
        one.settimeout(SOON)
        one.sendall(b"1")
        assert one.recv(1) == b"1"

        assert proxy.reset_all() == 1

        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_counters_can_be_read_after_leaving(echo: int) -> None:
    with Proxy("127.0.0.1", echo) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as one:
        one.sendall(b"1")
        one.recv(1)

    assert (proxy.counters.connections, proxy.counters.open) == (1, 0)
    with pytest.raises(RuntimeError, match="enter the proxy first"):
        proxy.stall()


def test_a_proxy_that_was_not_entered_says_how() -> None:
    with pytest.raises(RuntimeError, match="enter the proxy first"):
        Proxy("127.0.0.1", 1).heal()
