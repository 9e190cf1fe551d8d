"""The end of the process: whoever keeps it past its time is named, and left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from time import monotonic

from holdfast.runtime.leaving import at_work, leave_at, where_it_stands
from holdfast.settings.settings import Settings
from holdfast.telemetry import logs

REST_S = 0.5  # for what is left to itself, after everything else has ended
_ORDER_S = 1.5  # an orderly stop may take its whole time, and names what hangs better than we do
_FAILED_S = 2.5  # a start that failed has told why: what goes on after that is not waited for long


class Departure:
    """One process that is to end. *in_flight* names the requests that are being handled."""

    def __init__(self, told: logs.Logs, settings: Settings, in_flight: Callable[[], list[str]]) -> None:
        self._told = told
        self._allowed = settings.prestop_s + settings.shutdown_timeout_s
        self._in_flight = in_flight

    def asked(self, number: signal.Signals) -> None:
        """The first signal: from now on the time runs, also while the loop is blocked."""
        self._told.write("info", f"{number.name}: stopping")
        leave_at(monotonic() + self._allowed + _ORDER_S, self._say_what_hangs)

    def at_once(self, number: signal.Signals) -> None:
        """The second signal."""
        self._told.write("warning", f"second {number.name}: leaving at once")
        self._told.flush(0.5)
        os._exit(128 + number)

    def failed(self, status: int) -> None:
        """The start has failed, and has said why: the process ends with *status*, whatever was begun. Only
        who keeps it past its time is named."""
        leave_at(monotonic() + _FAILED_S, self._say_who_is_left, status)

    async def last(self, status: int, until: float = 0.0) -> None:
        """What does not end, and the runner would wait for without end, is named and left behind.

        Threads that still work have until *until* (monotonic), or a moment.
        """
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        hanging = (await asyncio.wait(left, timeout=REST_S))[1] if left else set()
        if hanging or (status and at_work()):
            self._say_who_is_left(at_work(), [task.get_name() for task in hanging])
            os._exit(status or 1)
        leave_at(max(until, monotonic() + REST_S), self._say_who_is_left)

    def _say_what_hangs(self, threads: list[str]) -> None:
        fields = {"threads": threads, "requests": self._in_flight(), "blocked": where_it_stands()}
        self._say({name: value for name, value in fields.items() if value})

    def _say_who_is_left(self, threads: list[str], tasks: Sequence[str] = ()) -> None:
        self._say({"tasks": list(tasks), "threads": threads} if tasks or threads else None)

    def _say(self, left: dict[str, object] | None) -> None:
        """The last line, which names what is *left*; None: there is nobody to name, and no line."""
        if left is not None:
            self._told.write("error", "left with work still going on", left)
        self._told.close()
        sys.stdout.flush()


def left_behind(status: int) -> None:
    """The start has failed before there was a log: like `Departure.failed`, told on standard error."""

    def say(threads: list[str]) -> None:
        if threads:
            print(f"left with work still going on: {', '.join(threads)}", file=sys.stderr)  # noqa: T201

    leave_at(monotonic() + _FAILED_S, say, status)
