"""Exceptions that nobody caught, outside any request: told as events, and the process lives on.

A task's and a thread's end with their event; one that ends the main thread asks for an orderly
stop. Handlers that were there before are called as well, unless they are Python's own, which would
print a second time. The owner of the hooks is the `Uncaught` that was installed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from holdfast.context import REQUEST
from holdfast.events import BUS, Bus, UncaughtError

LoopHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class Uncaught:
    """Hooks for loops, threads and the process. *stop* asks for an orderly stop and must not block."""

    def __init__(self, stop: Callable[[], None], bus: Bus = BUS) -> None:
        self._stop = stop
        self._bus = bus
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Set the hooks of threads and of the process; a second call changes nothing."""
        if self._undo:
            return
        self._hook_threads()
        self._hook_process()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the handler of *loop*."""
        before = loop.get_exception_handler()

        def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if isinstance(error, BaseException):
                self._tell("task", error, _of_task(context))
            if before is not None:
                before(loop, context)
            elif error is None:  # a warning such as a pending task destroyed: Python's own words
                loop.default_exception_handler(context)

        loop.set_exception_handler(handler)

        def undo() -> None:
            if loop.get_exception_handler() is handler:
                loop.set_exception_handler(before)

        self._undo.append(undo)

    def uninstall(self) -> None:
        """Put back what was there before, wherever the hook is still ours."""
        while self._undo:
            self._undo.pop()()

    def _hook_threads(self) -> None:
        before = threading.excepthook

        def hook(args: threading.ExceptHookArgs) -> None:
            if args.exc_value is not None and args.exc_type is not SystemExit:
                name = args.thread.name if args.thread is not None else "unknown"
                self._tell("thread", args.exc_value, {"thread": name})
            if before is not threading.__excepthook__:
                before(args)

        def undo() -> None:
            if threading.excepthook is hook:
                threading.excepthook = before

        threading.excepthook = hook
        self._undo.append(undo)

    def _hook_process(self) -> None:
        before = sys.excepthook

        def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            ours = isinstance(error, Exception)  # an interrupt is a wish, not an error
            if ours:
                self._tell("process", error, {})
                self._stop()
            if not ours or before is not sys.__excepthook__:
                before(kind, error, trace)

        def undo() -> None:
            if sys.excepthook is hook:
                sys.excepthook = before

        sys.excepthook = hook
        self._undo.append(undo)

    def _tell(self, where: str, error: BaseException, context: dict[str, Any]) -> None:
        self._bus.publish(UncaughtError(where=where, error=error, context=context))


def _of_task(context: dict[str, Any]) -> dict[str, Any]:
    """What a loop's context says, as text: the message, the task's name, the request it belongs to."""
    told: dict[str, Any] = {"said": str(context.get("message", ""))}
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        told["task"] = task.get_name()
        told["coroutine"] = getattr(task.get_coro(), "__qualname__", "")
        request = _request_of(task)
        if request is not None:
            told["request_id"] = request
    return told


def _request_of(task: asyncio.Task[Any]) -> str | None:
    read = getattr(task, "get_context", None)  # Python 3.12
    request = None if read is None else read().get(REQUEST)
    return None if request is None else str(request.id)
