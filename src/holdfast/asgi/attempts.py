"""One attempt at a request: what it may write into, and the task it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine

from holdfast.asgi.exchange import Exchange
from holdfast.asgi.types import Scope


def fresh(scope: Scope) -> Scope:
    """A scope that an attempt may write into without the next one seeing it."""
    fresh = dict(scope)
    state = fresh.get("state")
    if state is not None:
        fresh["state"] = dict(state)
    return fresh


async def in_own_task(exchange: Exchange, run: Awaitable[None]) -> BaseException | None:
    """Await *run* in a task with a copy of this context, so that attempts cannot see each other.

    One that is cancelled before its first step is closed.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(_drive(run), context=exchange.context.copy())
    if isinstance(run, Coroutine):  # when that task has ended: this one may be cut off before
        task.add_done_callback(lambda _: run.close())
    outer, exchange.task = exchange.task, task
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    finally:
        exchange.task = outer
    if task.cancelled():
        return None if exchange.expired else asyncio.CancelledError()
    return task.exception()


async def _drive(run: Awaitable[None]) -> None:
    await run
