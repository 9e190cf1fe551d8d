"""Deadlines of asynchronous calls: one timer for each loop and length, not one for each call.

Calls under one length expire in the order they began, so a timer for the oldest is enough. `live`
holds them in that order; a call costs a dict entry in and out. A call whose deadline is nearer than
its own length says (an outer deadline binds) gets a timer of its own beside its entry.
A sweep is touched only in its loop's thread.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import CancelledError, current_task
from collections.abc import Callable
from typing import Any

from holdfast.policy.deadline import NEVER

_NOWHERE: Any = object()


class Sweep:
    """The live calls of one loop under one timeout, each under a number that it takes from `latest`."""

    __slots__ = ("armed", "fired", "here", "latest", "live", "loop", "monotonic", "timeout")

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None, timeout: float, monotonic: Callable[[], float]
    ) -> None:
        self.loop = loop
        self.here = loop or _NOWHERE  # whose current task to ask for: no loop's, once this one has moved
        self.timeout = timeout
        self.monotonic = monotonic
        self.latest = 0
        self.live: dict[int, tuple[asyncio.Task[object], float, int]] = {}
        self.fired: dict[int, int] = {}
        self.armed = timeout == NEVER

    def arm(self) -> None:
        """Set the one timer."""
        assert self.loop is not None
        self.armed = True
        self.loop.call_later(self.timeout, self._sweep)

    def alone(self, key: int, seconds: float) -> asyncio.TimerHandle:
        """A timer of its own for a call that must end sooner than its length says."""
        assert self.loop is not None
        return self.loop.call_later(seconds, self._fire, key)

    def end(self, key: int, error: BaseException | None) -> bool:
        """The call is over; whether *error* is a cancellation that was this deadline's alone."""
        if self.live.pop(key, None) is not None:
            return False
        before = self.fired.pop(key)
        task = current_task(self.loop)
        assert task is not None
        # Whoever else cancelled the task must still be heard: then the cancellation stands.
        return task.uncancel() <= before and isinstance(error, CancelledError)

    def _fire(self, key: int) -> None:
        if key in self.live:
            task, _, cancelling = self.live.pop(key)
            self.fired[key] = cancelling
            task.cancel()

    def _sweep(self) -> None:
        assert self.loop is not None
        now = self.monotonic()
        while self.live:
            key = next(iter(self.live))
            moment = self.live[key][1]
            if moment > now:
                self.loop.call_later(moment - now, self._sweep)
                return
            self._fire(key)
        self.armed = False


class Here(threading.local):
    """This thread's last sweep: `get_running_loop()` is a system call on 3.11, this is a look-up."""

    sweep = Sweep(None, NEVER, lambda: 0.0)


class Sweeps:
    """The sweeps of one timeout length, one for each loop."""

    __slots__ = ("_lock", "_monotonic", "_of", "_timeout", "here")

    def __init__(self, timeout: float, monotonic: Callable[[], float]) -> None:
        self.here = Here()
        self._timeout = timeout
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._of: dict[asyncio.AbstractEventLoop, tuple[int, Sweep]] = {}

    def find(self) -> tuple[Sweep, asyncio.Task[object]]:
        """The running loop's sweep, and the task under way. Raises RuntimeError outside a task."""
        loop = asyncio.get_running_loop()
        task = current_task(loop)
        if task is None:
            raise RuntimeError("a guarded call needs a task to cancel at its deadline; await it inside one")
        with self._lock:
            self._of = {one: kept for one, kept in self._of.items() if not one.is_closed()}
            thread, sweep = self._of.get(loop, (0, None))
            if sweep is None or thread != threading.get_ident():
                if sweep is not None:
                    sweep.here = _NOWHERE  # the loop runs in another thread now, where this one is not kept
                sweep = Sweep(loop, self._timeout, self._monotonic)
                self._of[loop] = (threading.get_ident(), sweep)
        self.here.sweep = sweep
        return sweep, task


_SWEEPS: dict[tuple[float, Callable[[], float]], Sweeps] = {}
_LOCK = threading.Lock()


def sweeps(timeout: float, monotonic: Callable[[], float]) -> Sweeps:
    """The sweeps for all guards with this *timeout* (seconds) and this clock."""
    with _LOCK:
        return _SWEEPS.setdefault((timeout, monotonic), Sweeps(timeout, monotonic))
