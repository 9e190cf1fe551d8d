"""A real Redis can be started, hurt in every way we need, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from holdfast.drill.redis import Redis, RedisOptions
from holdfast.drill.servers import real_server


@pytest.fixture
def server() -> Iterator[Redis]:
    with real_server("redis") as server:
        yield server


def ask(url: str, *words: str) -> Any:
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        return client.execute_command(*words)


@pytest.mark.parametrize("mode", ["stop", "kill"])
def test_what_was_written_is_there_after_a_restart(server: Redis, mode: str) -> None:
    ask(server.url(), "SET", "kept", "7")
    port = server.port

    server.restart(mode)  # type: ignore[arg-type]

    assert server.port == port
    assert ask(server.url(), "GET", "kept") == b"7"


def test_a_durable_server_syncs_before_it_answers() -> None:
    with real_server("redis", durable=True) as server:
        assert ask(server.url(), "CONFIG", "GET", "appendfsync") == {b"appendfsync": b"always"}
        assert ask(server.url(), "CONFIG", "GET", "appendonly") == {b"appendonly": b"yes"}


def test_a_stopped_server_accepts_no_connections(server: Redis) -> None:
    assert server.accepts_connections()

    server.stop()

    assert not server.running
    assert not server.accepts_connections()


def test_a_paused_server_keeps_silent_and_goes_on_where_it_was(server: Redis) -> None:
    ask(server.url(), "SET", "kept", "7")

    server.pause()
    assert not server.accepts_connections()
    server.resume()

    assert server.accepts_connections()
    assert ask(server.url(), "GET", "kept") == b"7"


@pytest.mark.parametrize("mode", ["stop", "kill"])
def test_a_paused_server_can_be_stopped(server: Redis, mode: str) -> None:
    server.pause()

    getattr(server, mode)()

    assert not server.running


def test_with_a_password_nobody_enters_without() -> None:
    with real_server("redis", password="it's secret") as server:
        with pytest.raises(redis.AuthenticationError):
            ask(server.url(password="wrong"), "PING")

        assert ask(server.url(), "PING")


def test_no_more_memory_than_asked_for() -> None:
    def fill(url: str) -> None:
        for number in range(64):
            ask(url, "SET", f"filler {number}", "x" * 100_000)

    with Redis(RedisOptions(max_bytes=3_000_000)) as server, pytest.raises(redis.OutOfMemoryError):
        fill(server.url())


def test_a_proxy_stands_before_it(server: Redis) -> None:
    with server.proxied() as proxy:
        assert ask(server.url(port=proxy.port), "PING")
        proxy.refuse()

        with pytest.raises(redis.ConnectionError):
            ask(server.url(port=proxy.port), "PING")


def test_two_servers_stand_side_by_side(server: Redis) -> None:
    with real_server("redis") as other:
        assert server.port != other.port


def test_nothing_is_left_behind(server: Redis) -> None:
    pid, folder = server.pid, server.folder

    server.close()

    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert folder is not None
    assert not folder.exists()


PROGRAM = """
import os, signal
from holdfast.drill.servers import real_server
server = real_server('redis').__enter__()
print(server.pid, server.folder, flush=True)
"""


@pytest.mark.parametrize(
    "end", ["raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "server.pause(); 1/0"]
)
def test_a_program_that_does_not_clean_up_leaves_nothing_either(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM + end], capture_output=True, text=True, check=False)

    pid, folder = done.stdout.split()
    assert done.returncode != 0
    give_up_at = time.monotonic() + 10
    while (psutil.pid_exists(int(pid)) or Path(folder).exists()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert not psutil.pid_exists(int(pid))
    assert not Path(folder).exists()


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown server 'rediss', did you mean 'redis'\? Known: postgresql, redis"
    ):
        real_server("rediss")
