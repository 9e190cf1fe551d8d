"""Functions that play a script, and what a guard's sweeps still watch."""

from __future__ import annotations

import asyncio

from holdfast.guard.sweep import sweeps
from holdfast.policy.backoff import Backoff, Jitter
from holdfast.policy.retry import Retry

EXACT = Backoff(first=1.0, jitter=Jitter.NONE)
RETRY = Retry(attempts=3, backoff=EXACT)


class Scripted:
    """A function that raises what it is given, one a call, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, order: int = 7) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return order


class ScriptedAsync:
    """A coroutine function that plays steps, one a call: raises an error, waits seconds, or answers."""

    def __init__(self, *steps: BaseException | float) -> None:
        self.steps = list(steps)
        self.calls = 0

    async def __call__(self, order: int = 7) -> int:
        self.calls += 1
        step = self.steps.pop(0) if self.steps else 0
        if isinstance(step, BaseException):
            raise step
        if step:
            await asyncio.sleep(step)
        return order


def live(one) -> int:
    """How many calls the guard's sweeps still watch."""
    kept = sweeps(one._terms.timeout, one._terms.clock.monotonic)
    return sum(len(sweep.live) + len(sweep.fired) for _, sweep in kept._of.values())
