"""Whoever started us is told that we are ready; when they cannot be told, we serve all the same."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.runtime.notify import notify_ready, notify_stopping


@pytest.fixture
def systemd() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.settimeout(5)
        yield line


@pytest.fixture
def pm2() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield ours, theirs


def test_systemd_is_told_on_a_path(systemd: socket.socket, tmp_path: Path) -> None:
    """BOOT-5."""
    place = str(tmp_path / "notify")
    systemd.bind(place)

    assert notify_ready({"NOTIFY_SOCKET": place}, "serving http://127.0.0.1:8000\nREADY=0") == ()
    assert systemd.recv(200) == b"READY=1\nSTATUS=serving http://127.0.0.1:8000 READY=0"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="abstract names are Linux's")
def test_systemd_is_told_on_an_abstract_name(systemd: socket.socket) -> None:
    """BOOT-5."""
    name = f"holdfast-test-{os.getpid()}"
    systemd.bind(f"\0{name}")

    assert notify_stopping({"NOTIFY_SOCKET": f"@{name}"}) == ()
    assert systemd.recv(100) == b"STOPPING=1"


def test_pm2_gets_a_line_of_json(pm2: tuple[socket.socket, socket.socket]) -> None:
    """BOOT-5."""
    ours, theirs = pm2

    assert notify_ready({"NODE_CHANNEL_FD": str(ours.fileno())}) == ()
    assert theirs.recv(100) == b'"ready"\n'
    assert notify_stopping({"NODE_CHANNEL_FD": str(ours.fileno())}) == ()


def test_nobody_is_told_when_nobody_asked() -> None:
    assert notify_ready({}) == ()
    assert notify_stopping({"NOTIFY_SOCKET": ""}) == ()


def test_an_absent_systemd_is_a_warning(tmp_path: Path) -> None:
    """BOOT-5: never fatal."""
    (warning,) = notify_ready({"NOTIFY_SOCKET": str(tmp_path / "nobody")})

    assert "systemd was not told READY=1" in warning
    assert "No such file" in warning


@pytest.mark.parametrize("place", ["vsock:2:1234", "relative/path", "/" + "x" * 300])
def test_a_place_that_is_none_is_a_warning(place: str) -> None:
    (warning,) = notify_ready({"NOTIFY_SOCKET": place})

    assert "not told" in warning


@pytest.mark.parametrize("number", ["three", "987654", "-1", "9" * 40])
def test_a_channel_that_is_closed_is_a_warning(number: str) -> None:
    """BOOT-5: never fatal."""
    (warning,) = notify_ready({"NODE_CHANNEL_FD": number})

    assert "NODE_CHANNEL_FD" in warning


def test_a_number_that_became_a_file_of_ours_is_not_written_to(tmp_path: Path) -> None:
    """The channel was closed on the way, and its number given to something precious."""
    precious = tmp_path / "precious"
    with precious.open("w") as file:
        (warning,) = notify_ready({"NODE_CHANNEL_FD": str(file.fileno())})

    assert "no channel" in warning
    assert precious.read_text() == ""


def test_a_number_that_became_a_database_connection_is_not_written_to() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        accepted, _ = server.accept()
        with accepted:
            (warning,) = notify_ready({"NODE_CHANNEL_FD": str(ours.fileno())})
            accepted.setblocking(False)

            assert "no channel" in warning
            with pytest.raises(BlockingIOError):
                accepted.recv(1)


def test_a_channel_that_speaks_no_json_is_a_warning() -> None:
    (warning,) = notify_ready({"NODE_CHANNEL_FD": "3", "NODE_CHANNEL_SERIALIZATION_MODE": "advanced"})

    assert "does not speak JSON" in warning


def test_one_who_cannot_be_told_does_not_keep_the_other_from_hearing(
    pm2: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = pm2
    environ = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "NODE_CHANNEL_FD": str(ours.fileno())}

    assert len(notify_ready(environ)) == 1
    assert theirs.recv(100) == b'"ready"\n'
