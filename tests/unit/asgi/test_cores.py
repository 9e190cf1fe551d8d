"""All threads on one core for a moment, and everything as it was afterwards (DB-6)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from holdfast.asgi.cores import OneCore, confine, release, usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which thread runs where")

MINE = os.sched_getaffinity(0) if sys.platform == "linux" else set[int]()
several = pytest.mark.skipif(len(MINE) < 2, reason="this machine lets us use one core only")


@contextmanager
def thread() -> Iterator[int]:
    """A thread that waits until it may end; its number."""
    began, may_end = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        may_end.wait()

    one = threading.Thread(target=wait)
    one.start()
    began.wait()
    assert one.native_id is not None
    try:
        yield one.native_id
    finally:
        may_end.set()
        one.join()


@contextmanager
def child() -> Iterator[int]:
    """A process that waits until it may end; its number."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as one:
        yield one.pid
        one.kill()


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    assert os.sched_getaffinity(0) == MINE


@several
def test_every_thread_is_there_and_back() -> None:
    with thread() as other:
        confined = confine()
        assert confined is not None
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other) == {confined.core}
        release(confined)
        assert os.sched_getaffinity(other) == MINE


@several
@pytest.mark.parametrize("start", [thread, child])
def test_what_was_started_meanwhile_gets_what_it_would_have_had(start: Callable[[], Iterator[int]]) -> None:
    confined = confine()
    assert confined is not None
    with start() as begun:
        assert os.sched_getaffinity(begun) == {confined.core}
        release(confined)
        assert os.sched_getaffinity(begun) == MINE


@several
@pytest.mark.parametrize("start", [thread, child])
def test_what_had_its_own_place_keeps_it(start: Callable[[], Iterator[int]]) -> None:
    core = min(MINE)
    with start() as begun:
        os.sched_setaffinity(begun, {core})
        confined = confine()
        assert confined is not None
        release(confined)
        assert os.sched_getaffinity(begun) == {core}


@several
def test_who_decides_otherwise_meanwhile_is_left_alone() -> None:
    with thread() as other:
        confined = confine()
        assert confined is not None
        elsewhere = MINE - {confined.core}
        os.sched_setaffinity(other, elsewhere)
        release(confined)
        assert os.sched_getaffinity(other) == elsewhere


@several
def test_it_lasts_until_the_last_who_asked_asks_no_longer() -> None:
    one_core = OneCore()
    one_core.ask("a", wanted=True)
    one_core.ask("b", wanted=True)
    one_core.ask("a", wanted=False)
    assert one_core.asked
    assert len(os.sched_getaffinity(0)) == 1
    one_core.ask("b", wanted=False)
    assert not one_core.asked
    assert os.sched_getaffinity(0) == MINE


def test_where_the_system_refuses_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: int, cores: set[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    one_core = OneCore()
    one_core.ask("a", wanted=True)
    one_core.ask("a", wanted=False)


def test_a_system_that_refuses_one_thread_leaves_none_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.sched_setaffinity

    def refuse(thread: int, cores: set[int]) -> None:
        if thread != os.getpid() and len(cores) == 1:
            raise PermissionError(1, "Operation not permitted")
        real(thread, cores)

    with thread():
        monkeypatch.setattr(os, "sched_setaffinity", refuse)
        assert confine() is None
        assert os.sched_getaffinity(0) == MINE


def test_without_a_lock_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert confine() is None


def test_usage_counts_what_was_computed_and_waited_for() -> None:
    before = usage()
    with thread():
        sum(range(10**6))
    after = usage()
    assert after.computed > before.computed
    assert after.waited > before.waited
