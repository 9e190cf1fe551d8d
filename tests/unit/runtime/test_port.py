"""A port that cannot be had is found early, and the message says what to do about it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.runtime import holders
from holdfast.runtime.holders import Holder, holder_of
from holdfast.runtime.port import (
    Place,
    PortForbidden,
    PortTaken,
    PortUnusable,
    bind,
    check_port,
    failure,
    ways_out,
)

ANOTHER_USER = 65534  # nobody

LISTEN = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def stranger() -> Iterator[tuple[int, int]]:
    """Another process that listens: its port and its pid."""
    command = [sys.executable, "-c", LISTEN, "postgresql://app:hunter2@db/shop"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.stdin.close()
            process.wait(10)


def test_a_free_port_is_left_as_it_was(listening: int) -> None:
    """PORT-1: the check is early and holds nothing; the server binds later."""
    free = bind("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()

    check_port("127.0.0.1", port)

    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_taken_port_names_its_holder_and_three_ways_out(stranger: tuple[int, int]) -> None:
    """PORT-1: port, pid, command (redacted), since when; stop it, free-port, PORT."""
    port, pid = stranger
    with pytest.raises(PortTaken) as refused:
        check_port("127.0.0.1", port)

    said = str(refused.value)
    assert "holdfast could not start: port" in said
    assert f"Port {port} of 127.0.0.1 is taken by process {pid} of " in said
    assert time.strftime("running since %Y-") in said
    assert f"kill {pid}" in said
    assert f"holdfast free-port {port}" in said
    assert f"set PORT, or start with --port {port + 1}" in said
    assert "hunter2" not in said
    assert refused.value.exit_status == 69
    assert refused.value.holder.pid == pid
    assert refused.value.holder.mine


def test_a_port_taken_on_every_address_is_taken_on_each() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server, pytest.raises(PortTaken) as refused:
        check_port("127.0.0.1", server.getsockname()[1])

    assert refused.value.holder.pid == os.getpid()


def test_a_holder_on_another_address_is_not_blamed(listening: int) -> None:
    with socket.create_server(("127.0.0.2", listening)):
        assert holder_of(listening, "127.0.0.2").pid == os.getpid()

    assert holder_of(listening).pid == os.getpid()
    assert holder_of(1) is None


def test_of_processes_that_share_the_socket_the_eldest_is_named() -> None:
    """PORT-1: ending a worker helps nobody, its parent starts another."""
    share = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child == 0:
    os.read(0, 1)
    os._exit(0)
print(listening.getsockname()[1], child, flush=True)
os.waitpid(child, 0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", share], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        port, child = map(int, parent.stdout.readline().split())
        import psutil

        eldest = holders._eldest(psutil.Process(child), port)
        parent.stdin.close()

    assert eldest.pid == parent.pid


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_who_cannot_see_the_holder_is_told_how_to_find_it(listening: int) -> None:
    """PORT-1: works without root when the holder belongs to somebody else."""
    said = as_another_user("127.0.0.1", listening)

    assert f"Port {listening} of 127.0.0.1 is taken by a process that this user cannot see." in said
    assert f"find it: sudo ss -ltnp 'sport = :{listening}'" in said
    assert f"holdfast free-port {listening}" in said


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_a_low_port_is_refused_to_another_user_with_its_own_message() -> None:
    """PORT-2, with the system's own refusal."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("this machine lets everyone listen below 1024")

    assert "Port 81 is below 1024, and only root may listen there." in as_another_user("127.0.0.1", 81)


def as_another_user(host: str, port: int) -> str:
    # Imported first, become nobody then: the checkout may be closed to others.
    code = (
        "import os, sys, psutil, encodings.idna\n"
        "from holdfast.settings.failure import StartFailure\n"
        "from holdfast.runtime.port import check_port\n"
        f"os.setgroups([]); os.setgid({ANOTHER_USER}); os.setuid({ANOTHER_USER})\n"
        f"try: check_port({host!r}, {port})\n"
        "except StartFailure as failure: print(failure)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_permission_denied_below_1024_has_its_own_message() -> None:
    """PORT-2."""

    def refuse(host: str, port: int) -> socket.socket:
        raise failure(Place(host, port), PermissionError(errno.EACCES, "Permission denied"))

    with pytest.raises(PortForbidden) as refused:
        check_port("0.0.0.0", 80, binder=refuse)

    said = str(refused.value)
    assert "Port 80 is below 1024, and only root may listen there." in said
    assert "--port 8080" in said
    assert "CAP_NET_BIND_SERVICE" in said
    assert refused.value.exit_status == 69


def test_permission_denied_above_1024_does_not_speak_of_1024() -> None:
    said = str(failure(Place("", 8000), PermissionError(errno.EACCES, "Permission denied")))

    assert "does not permit listening on port 8000 of every address" in said
    assert "1024" not in said


def test_an_address_of_another_machine_is_told_apart() -> None:
    with pytest.raises(PortUnusable, match=r"192\.0\.2\.1 is no address of this machine"):
        check_port("192.0.2.1", 8000)


@pytest.mark.parametrize("host", ["[::1]", "no host", "a" * 70])
def test_a_host_without_an_address_is_told_apart(host: str) -> None:
    with pytest.raises(PortUnusable, match="has no address") as refused:
        check_port(host, 8000)

    assert "An IPv6 address stands without brackets" in refused.value.action


def test_a_number_that_is_no_port_is_told_apart() -> None:
    with pytest.raises(PortUnusable, match=r"Port 70000 of 127\.0\.0\.1 cannot be used: ports end at 65535"):
        check_port("127.0.0.1", 70000)


def test_a_bound_socket_does_not_block_and_can_be_bound_again_at_once() -> None:
    """BOOT-2: SO_REUSEADDR as uvicorn sets it, so that a restart finds its port."""
    with bind("127.0.0.1", 0) as bound:
        assert not bound.getblocking()
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_a_port_left_in_time_wait_is_free(listening: int) -> None:
    server = bind("127.0.0.1", 0)
    server.listen()
    port = server.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        server.setblocking(True)
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first waits
        assert client.recv(1) == b""
    server.close()

    check_port("127.0.0.1", port)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_host_is_bound() -> None:
    try:
        bound = bind("::1", 0)
    except PortUnusable:
        pytest.skip("this machine has no ::1")
    with bound:
        assert bound.family == socket.AF_INET6


def test_localhost_is_bound_where_people_type_it() -> None:
    with bind("localhost", 0) as bound:
        assert bound.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("platform", "known", "unknown"),
    [
        ("win32", "taskkill /PID 42", "netstat -ano | findstr :8000"),
        ("darwin", "sudo kill 42", "lsof -nP -iTCP:8000"),
        ("linux", "sudo kill 42", "ss -ltnp 'sport = :8000'"),
    ],
)
def test_the_ways_out_are_in_the_words_of_the_users_system(platform: str, known: str, unknown: str) -> None:
    """PORT-1."""
    holder = Holder(42, "node server.js", 0.0, "anna", mine=False)

    assert known in ways_out(Place("", 8000), holder, platform)[0]
    assert unknown in ways_out(Place("", 8000), None, platform)[0]
    assert "--port 8000" in ways_out(Place("", 65535), None, platform)[2]


def test_a_long_command_is_shortened() -> None:
    command = [sys.executable, "-c", LISTEN, "x" * 500]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        holder = holder_of(int(process.stdout.readline()))
        process.stdin.close()

    assert len(holder.command) <= 120
    assert "\n" not in holder.command
    assert holder.since == pytest.approx(time.time(), abs=60)
