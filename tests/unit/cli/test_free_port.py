"""`holdfast free-port N` as a user types it (PORT-3)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.drill.ports import quiet_port

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="terminals as POSIX has them")]

HOLDFAST = Path(sys.executable).parent / "holdfast"
WITHIN = 30.0
HEAD = """
import os, signal, socket, sys
listening = socket.create_server(("127.0.0.1", 0))
def told():
    print(listening.getsockname()[1], os.getpid(), flush=True)
"""
ENDS = "told()\nsignal.pause()\n"
HANDS_ON = """
def hand_on(*_):
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pause()
signal.signal(signal.SIGTERM, hand_on)
told()
while True: signal.pause()
"""


class Stranger:
    """A process that listens."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEAD + code, "postgresql://app:hunter2@db/shop"],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.port, self.pid = (int(one) for one in self.process.stdout.readline().split())

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    one = Stranger(ENDS)
    yield one
    one.end()


def free_port(*words: str | int, answer: str | None = None) -> tuple[int, str]:
    """Its status, and all that it says; with *answer* it is typed at a terminal."""
    terminal, screen = os.openpty() if answer is not None else (None, None)
    try:
        if terminal is not None and answer is not None:
            os.write(terminal, answer.encode())
        ran = subprocess.run(
            [str(HOLDFAST), "free-port", *map(str, words)],
            stdin=subprocess.DEVNULL if screen is None else screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN,
        )
    finally:
        for one in (terminal, screen):
            if one is not None:
                os.close(one)
    return ran.returncode, ran.stdout


def test_it_shows_the_holder_and_ends_it_after_a_yes(stranger: Stranger) -> None:
    """PORT-3: pid, command (redacted), since when."""
    status, said = free_port(stranger.port, answer="y\n")

    assert status == 0, said
    assert f"port {stranger.port} is held by process {stranger.pid} of " in said
    assert "running since" in said
    assert "hunter2" not in said
    assert f"asked process {stranger.pid} to end" in said
    assert said.rstrip().endswith(f"port {stranger.port} is free")
    assert stranger.process.wait(WITHIN) == -signal.SIGTERM


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_without_a_yes_it_is_only_shown(stranger: Stranger, answer: str) -> None:
    """PORT-3."""
    status, said = free_port(stranger.port, answer=answer)

    assert status == 1
    assert f"process {stranger.pid}" in said
    assert stranger.runs


def test_where_nobody_can_be_asked_nothing_is_ended(stranger: Stranger) -> None:
    """PORT-3."""
    status, said = free_port(stranger.port)

    assert status == 1
    assert f"process {stranger.pid}" in said
    assert "add --yes" in said
    assert stranger.runs


def test_with_yes_nobody_is_asked(stranger: Stranger) -> None:
    """PORT-3."""
    status, said = free_port(stranger.port, "--yes")

    assert status == 0, said
    assert stranger.process.wait(WITHIN) == -signal.SIGTERM


def test_one_that_does_not_listen_to_reason_is_killed_after_the_time_given() -> None:
    """PORT-3."""
    one = Stranger("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntold()\nwhile True: signal.pause()\n")
    try:
        status, said = free_port(one.port, "--yes", "--wait", "0.2")

        assert status == 0, said
        assert f"killed process {one.pid}, which did not end within 0.2 s" in said
        assert one.process.wait(WITHIN) == -signal.SIGKILL
    finally:
        one.end()


def test_a_port_that_nobody_holds_is_said_to_be_free() -> None:
    """PORT-3."""
    port = quiet_port()

    assert free_port(port, "--yes") == (0, f"nobody listens on port {port}\n")


def test_one_that_is_taken_again_is_told() -> None:
    """PORT-3: a supervisor has started it again; who was not shown is not ended."""
    one = Stranger(HANDS_ON)
    try:
        status, said = free_port(one.port, "--yes")

        assert status == 69, said
        assert f"port {one.port} is taken again" in said
    finally:
        one.end()


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can start another user's process"
)
def test_another_users_process_is_never_ended() -> None:
    """PORT-3: not even for root, and whatever is said."""
    one = Stranger("os.setuid(65534)\n" + ENDS)
    try:
        status, said = free_port(one.port, "--yes")

        assert status == 77, said
        assert "a process of another user is not ended here" in said
        assert f"kill {one.pid}" in said
        assert one.runs
    finally:
        one.end()


def test_a_number_that_is_no_port_is_refused() -> None:
    assert free_port(70000, "--yes")[0] == 2
