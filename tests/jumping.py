"""Time that jumps: a clock, and a loop that goes straight to its next deadline."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class JumpingClock:
    """Seconds that pass only when everybody waits."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class _Selector(selectors.DefaultSelector):
    """Looks whether anything is ready; if not, lets the time until the next timer pass."""

    clock: JumpingClock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen on this loop again")
            self.clock.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on a jumping clock."""

    def __init__(self, clock: JumpingClock) -> None:
        selector = _Selector()
        selector.clock = clock
        super().__init__(selector)
        self._jumping = clock

    def time(self) -> float:
        return self._jumping.now


def run(clock: JumpingClock, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of *coroutine*, on a jumping loop of its own."""
    with asyncio.Runner(loop_factory=lambda: JumpingLoop(clock)) as runner:
        return runner.run(coroutine)


async def until(condition: Callable[[], object], within: float = 600.0) -> float:
    """Wait until *condition* holds; the seconds it took. Fails after *within*, of the loop's own."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < within, "it never came about"
        await asyncio.sleep(0.01)
    return loop.time() - began
