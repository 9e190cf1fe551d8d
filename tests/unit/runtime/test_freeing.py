"""Ending those who hold a port, with real processes (PORT-3)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from holdfast.runtime.freeing import end
from holdfast.runtime.holders import Held, eldest, held

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")]

LONG, SHORT = 20.0, 0.2
HEAD = """
import os, signal, socket, sys
family, host = (socket.AF_INET6, "::1") if "ipv6" in sys.argv else (socket.AF_INET, "127.0.0.1")
listening = socket.create_server((host, 0), family=family)
port = listening.getsockname()[1]
def told(*more):
    print(port, os.getpid(), *more, flush=True)
"""
ENDS = "told()\nsignal.pause()\n"
IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntold()\nwhile True: signal.pause()\n"
WORKERS = """
workers = []
for _ in range(2):
    worker = os.fork()
    if worker == 0:
        signal.pause()
        os._exit(0)
    workers.append(worker)
def stop(*_):
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.waitpid(worker, 0)
    sys.exit(0)
if "careful" in sys.argv:
    signal.signal(signal.SIGTERM, stop)
told(*workers)
signal.pause()
"""
DRAINS = """
signal.signal(signal.SIGTERM, lambda *_: listening.close())
told()
while True: signal.pause()
"""

Listen = Callable[..., list[int]]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts a process that listens; its port, its number, and those of what it has started."""
    begun: list[subprocess.Popen[str]] = []

    def start(code: str, *words: str) -> list[int]:
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + code, *words],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        begun.append(process)
        assert process.stdout is not None
        return [int(one) for one in process.stdout.readline().split()]

    yield start
    for process in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class Told:
    """What is said while it goes on."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def end(self, shown: Held, patience: float) -> bool:
        return end(shown, patience, self.lines.append)


def runs(pid: int) -> bool:
    """Whether that process is there, and no zombie that waits for its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_one_that_listens_to_reason_is_asked_and_not_killed(listen: Listen) -> None:
    """PORT-3: SIGTERM first."""
    port, pid = listen(ENDS)
    told = Told()

    assert told.end(held(port), LONG)
    assert told.lines == [f"asked process {pid} to end"]
    assert not runs(pid)
    assert held(port) == Held(port, ())


def test_one_that_does_not_is_killed_when_its_time_is_over(listen: Listen) -> None:
    """PORT-3: then SIGKILL."""
    port, pid = listen(IGNORES)
    told = Told()

    assert told.end(held(port), SHORT)
    assert told.lines == [
        f"asked process {pid} to end",
        f"killed process {pid}, which did not end within 0.2 s",
    ]
    assert not runs(pid)


def test_of_those_that_share_it_the_eldest_ends_the_others(listen: Listen) -> None:
    """PORT-3: a worker that is ended alone is started again."""
    port, pid, *workers = listen(WORKERS, "careful")
    told, shown = Told(), held(port)

    assert [one.pid for one in eldest(shown.holders)] == [pid]
    assert {one.pid for one in shown.holders} == {pid, *workers}
    assert told.end(shown, LONG)
    assert told.lines == [f"asked process {pid} to end"]
    assert not any(runs(one) for one in (pid, *workers))


def test_workers_that_are_left_behind_are_asked_as_well(listen: Listen) -> None:
    """PORT-3: their parent ends at once and forgets them; they hold the port all the same."""
    port, pid, *workers = listen(WORKERS)
    told = Told()

    assert told.end(held(port), LONG)
    assert told.lines[0] == f"asked process {pid} to end"
    assert sorted(told.lines[1:]) == sorted(f"asked process {one} to end" for one in workers)
    assert held(port) == Held(port, ())


def test_one_that_gives_the_port_back_may_finish_its_work(listen: Listen) -> None:
    """PORT-3: a server that drains is not killed in the middle of it."""
    port, pid = listen(DRAINS)
    told = Told()

    assert told.end(held(port), LONG)
    assert told.lines == [f"asked process {pid} to end"]
    assert runs(pid)


def test_another_process_with_the_same_number_is_let_alone(listen: Listen) -> None:
    """PORT-3: the one that was shown has ended meanwhile, and the system has given its number away."""
    port, pid = listen(ENDS)
    shown = held(port)
    (holder,) = shown.holders
    told = Told()

    assert told.end(replace(shown, holders=(replace(holder, since=holder.since - 60),)), SHORT)
    assert told.lines == []
    assert runs(pid)


def test_whoever_came_after_the_look_is_let_alone(listen: Listen) -> None:
    """PORT-3: a yes was said to those who were shown."""
    port, pid, *workers = listen(WORKERS)
    shown = held(port)
    first = tuple(one for one in shown.holders if one.pid == pid)

    Told().end(replace(shown, holders=first), LONG)

    assert not runs(pid)
    assert all(runs(one) for one in workers)


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can start another user's process"
)
def test_nothing_is_ended_when_one_of_them_is_another_users(listen: Listen) -> None:
    """PORT-3: root is no exception."""
    port, pid = listen("os.setuid(65534)\n" + ENDS)
    shown = held(port)

    with pytest.raises(PermissionError):
        Told().end(shown, SHORT)
    assert not shown.holders[0].mine
    assert runs(pid)


def test_nothing_is_ended_when_one_of_them_is_hidden(listen: Listen) -> None:
    """PORT-3."""
    port, pid = listen(ENDS)

    with pytest.raises(PermissionError):
        Told().end(replace(held(port), hidden=True), SHORT)
    assert runs(pid)


def test_a_listener_on_ipv6_is_found_and_ended(listen: Listen) -> None:
    """PORT-3."""
    try:
        port, pid = listen(ENDS, "ipv6")
    except ValueError:
        pytest.skip("this machine has no ::1")

    assert [one.pid for one in held(port).holders] == [pid]
    assert Told().end(held(port), LONG)
    assert not runs(pid)
