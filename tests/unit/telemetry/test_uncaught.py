"""Exceptions outside requests are told; tasks and threads do not end the process (ERR-7)."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator

import pytest

from holdfast.context import Request
from holdfast.events import Bus, UncaughtError
from holdfast.telemetry.uncaught import Uncaught


class Heard:
    """A bus with an ear, and a count of the stops asked for."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.events: list[UncaughtError] = []
        self.stops = 0
        self.bus.subscribe(self.events.append)  # type: ignore[arg-type]
        self.hooks = Uncaught(self.stop, self.bus)

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    heard = Heard()
    heard.hooks.install()
    yield heard
    heard.hooks.uninstall()
    assert threading.excepthook is threading.__excepthook__
    assert sys.excepthook is sys.__excepthook__


def end_badly(error: BaseException) -> None:
    raise error


def test_a_threads_error_is_told_with_its_name(heard, capsys: pytest.CaptureFixture[str]):
    thread = threading.Thread(target=end_badly, args=(ValueError("x"),), name="poller")
    thread.start()
    thread.join()

    assert [event.where for event in heard.events] == ["thread"]
    assert heard.events[0].context == {"thread": "poller"}
    assert isinstance(heard.events[0].error, ValueError)
    assert heard.stops == 0
    assert capsys.readouterr().err == ""


def test_a_thread_that_exits_is_no_error(heard):
    thread = threading.Thread(target=end_badly, args=(SystemExit(),))
    thread.start()
    thread.join()

    assert heard.events == []


def test_the_process_error_is_told_and_asks_for_an_orderly_stop(heard, capsys: pytest.CaptureFixture[str]):
    sys.excepthook(ValueError, ValueError("x"), None)

    assert [event.where for event in heard.events] == ["process"]
    assert heard.stops == 1
    assert capsys.readouterr().err == ""


def test_an_interrupt_is_pythons_business(heard, capsys: pytest.CaptureFixture[str]):
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert (heard.events, heard.stops) == ([], 0)
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_hooks_that_were_there_are_called_too(monkeypatch: pytest.MonkeyPatch):
    called: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: called.append("thread"))
    monkeypatch.setattr(sys, "excepthook", lambda *args: called.append("process"))
    heard = Heard()
    heard.hooks.install()
    heard.hooks.install()
    thread = threading.Thread(target=end_badly, args=(ValueError("x"),))
    thread.start()
    thread.join()
    sys.excepthook(ValueError, ValueError("x"), None)
    heard.hooks.uninstall()

    assert called == ["thread", "process"]
    assert len(heard.events) == 2


def test_a_hook_set_after_ours_is_left_alone(heard, monkeypatch: pytest.MonkeyPatch):
    def theirs(*args: object) -> None:
        """Someone else's."""

    heard.hooks.uninstall()
    heard.hooks.install()
    sys.excepthook = theirs
    heard.hooks.uninstall()

    assert sys.excepthook is theirs
    sys.excepthook = sys.__excepthook__


async def test_a_tasks_error_is_told_with_its_name_and_the_loop_goes_on(heard):
    loop = asyncio.get_running_loop()
    heard.hooks.watch(loop)

    async def poll() -> None:
        raise ValueError("x")

    task = asyncio.create_task(poll(), name="poller")
    await asyncio.wait([task])
    del task
    await asyncio.sleep(0)

    assert [event.where for event in heard.events] == ["task"]
    context = heard.events[0].context
    assert (context["task"], context["coroutine"].endswith("poll")) == ("poller", True)
    assert "never retrieved" in context["said"]
    assert heard.stops == 0


async def test_the_loops_earlier_handler_is_called_too_and_comes_back(heard):
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def theirs(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        seen.append(str(context["message"]))

    loop.set_exception_handler(theirs)
    heard.hooks.watch(loop)
    loop.call_exception_handler({"message": "odd", "exception": ValueError("x")})
    heard.hooks.uninstall()

    assert seen == ["odd"]
    assert len(heard.events) == 1
    assert loop.get_exception_handler() is theirs


async def test_a_warning_without_exception_is_left_to_python(heard, caplog: pytest.LogCaptureFixture):
    loop = asyncio.get_running_loop()
    heard.hooks.watch(loop)
    loop.call_exception_handler({"message": "Task was destroyed but it is pending!"})

    assert heard.events == []
    assert caplog.messages == ["Task was destroyed but it is pending!"]


async def test_the_request_a_task_belongs_to_is_named(heard, under_way):
    request: Request = under_way("r-3")
    loop = asyncio.get_running_loop()
    heard.hooks.watch(loop)

    async def nothing() -> None:
        """Ends at once."""

    task = loop.create_task(nothing())
    await task
    loop.call_exception_handler({"message": "odd", "exception": ValueError("x"), "task": task})

    expected = request.id if hasattr(task, "get_context") else None
    assert expected == heard.events[0].context.get("request_id")
