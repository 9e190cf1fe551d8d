"""Time as an argument: shells take a `Clock`, pure code takes `now`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Tells monotonic seconds and wall time; tests hand in one that jumps."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean something."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, for people to read."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


SYSTEM_CLOCK = SystemClock()


async def within(
    seconds: float,
    work: Coroutine[Any, Any, T],
    undo: Callable[[T], Coroutine[Any, Any, None]] | None = None,
) -> T:
    """The result of *work*, done in a task of its own; raises TimeoutError after so many seconds.

    What `asyncio.wait_for` promises, which until Python 3.12 forgot a cancellation that came in the same
    turn of the loop as the result. A result that comes in the turn in which nobody wants it any more
    is undone.
    """
    doing = asyncio.ensure_future(work)
    try:
        async with asyncio.timeout(seconds):
            return await doing
    except BaseException:
        if undo is not None and doing.done() and not doing.cancelled() and doing.exception() is None:
            await undo(doing.result())
        raise
