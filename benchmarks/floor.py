"""The floor: the least pure Python that retries, breaks circuits and keeps deadlines, fused by hand.

It opens after so many failures in a row, lets one trial out, attempts again within the deadline, and
tells its own cancellation from others'. It has no names, no events, no budget, no ratios, no
generations, no notes, and its deadline cannot be read inside: what `guard` adds, it must pay for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from asyncio import current_task, get_running_loop
from contextvars import ContextVar
from itertools import count

monotonic = time.monotonic
DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)
KEYS = count(1).__next__


class Refused(Exception):  # noqa: N818 - the words of the package
    """The circuit is open."""


class Breaker:
    """Failures in a row. `failures` is 0 exactly when a success need not be looked at."""

    __slots__ = ("failures", "lock", "on", "open_until", "reset_after", "threshold", "trial")

    def __init__(self, threshold=5, reset_after=30.0, on=(Exception,)):
        self.failures = 0
        self.open_until = 0.0
        self.trial = False
        self.threshold = threshold
        self.reset_after = reset_after
        self.on = on
        self.lock = threading.Lock()

    def admit(self):
        if monotonic() < self.open_until:
            raise Refused
        with self.lock:
            if self.open_until:
                if self.trial or monotonic() < self.open_until:
                    raise Refused
                self.trial = True

    def succeeded(self):
        with self.lock:
            if not self.open_until or self.trial:
                self.failures = 0
                self.open_until = 0.0
                self.trial = False

    def failed(self, error):
        with self.lock:
            if isinstance(error, self.on):
                self.failures += 1
                if self.failures >= self.threshold:
                    self.open_until = monotonic() + self.reset_after
            self.trial = False


class Sweep:
    """One timer a loop: calls under one timeout expire in the order they began."""

    __slots__ = ("armed", "fired", "live", "loop", "timeout")

    def __init__(self, loop, timeout):
        self.loop = loop
        self.timeout = timeout
        self.live = {}
        self.fired = set()
        self.armed = False

    def arm(self):
        self.armed = True
        self.loop.call_later(self.timeout, self.fire)

    def fire(self):
        live, now = self.live, monotonic()
        while live:
            key = next(iter(live))
            task, when = live[key]
            if when > now:
                self.loop.call_later(when - now, self.fire)
                return
            del live[key]
            self.fired.add(key)
            task.cancel()
        self.armed = False

    def settle(self, key, task, cancelling, error):
        self.fired.discard(key)
        if task.uncancel() <= cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error


def sweeper(timeout):
    """This thread's last sweep, and how to find the right one when it is not."""
    held = {}

    class Here(threading.local):
        sweep = Sweep(object(), timeout)

    here = Here()

    def find():
        loop = get_running_loop()
        sweep = held.get(loop)
        if sweep is None:
            sweep = held[loop] = Sweep(loop, timeout)
        here.sweep = sweep
        return sweep

    return here, find


def wait(attempt):
    return min(2.0, 0.05 * 2**attempt)


def guard_sync(call, state, attempts=3, timeout=1.0, on=(Exception,), sleep=time.sleep):  # noqa: C901 - fused on purpose: this is what speed costs
    get, put, back = DEADLINE.get, DEADLINE.set, DEADLINE.reset

    def again(error, deadline, args, kwargs):
        state.failed(error)
        if not isinstance(error, on):
            raise error
        for attempt in range(1, attempts):
            pause = wait(attempt)
            if monotonic() + pause >= deadline:
                raise TimeoutError from error
            sleep(pause)
            if state.open_until:
                state.admit()
            try:
                result = call(*args, **kwargs)
            except BaseException as latest:
                state.failed(latest)
                if not isinstance(latest, on):
                    raise
                error = latest
            else:
                if state.failures:
                    state.succeeded()
                return result
        raise error

    def guarded(*args, **kwargs):
        if state.open_until:
            state.admit()
        deadline = monotonic() + timeout
        outer = get()
        if outer is not None and outer < deadline:
            deadline = outer
        token = put(deadline)
        try:
            result = call(*args, **kwargs)
        except BaseException as error:
            return again(error, deadline, args, kwargs)
        finally:
            back(token)
        if state.failures:
            state.succeeded()
        return result

    return guarded


def guard_async(call, state, attempts=3, timeout=1.0, on=(Exception,), sleep=asyncio.sleep):  # noqa: C901 - fused on purpose: this is what speed costs
    here, find = sweeper(timeout)

    async def again(error, args, kwargs):
        state.failed(error)
        if not isinstance(error, on):
            raise error
        for attempt in range(1, attempts):
            await sleep(wait(attempt))
            if state.open_until:
                state.admit()
            try:
                result = await call(*args, **kwargs)
            except BaseException as latest:
                state.failed(latest)
                if not isinstance(latest, on):
                    raise
                error = latest
            else:
                if state.failures:
                    state.succeeded()
                return result
        raise error

    async def guarded(*args, **kwargs):
        if state.open_until:
            state.admit()
        sweep = here.sweep
        task = current_task(sweep.loop)
        if task is None:
            sweep = find()
            task = current_task(sweep.loop)
        live = sweep.live
        key = KEYS()
        cancelling = task.cancelling()
        live[key] = (task, monotonic() + timeout)
        if not sweep.armed:
            sweep.arm()
        try:
            try:
                result = await call(*args, **kwargs)
            except BaseException as error:
                result = await again(error, args, kwargs)
        except BaseException as error:
            if live.pop(key, None) is None:
                state.failed(TimeoutError())
                sweep.settle(key, task, cancelling, error)
            raise
        if live.pop(key, None) is None:
            sweep.settle(key, task, cancelling, None)
        if state.failures:
            state.succeeded()
        return result

    return guarded
