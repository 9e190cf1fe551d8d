"""What became of orders that were accepted with 202: their operations, asked until they are finished."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable

import aiohttp
from orders import Order

_FINISHED = ("done", "failed", "dead")
_STUCK_AFTER = 30.0  # seconds in which none of them was finished
_ASK_EACH = 0.1
_AT_ONCE = 8


async def follow(session: aiohttp.ClientSession, orders: Iterable[Order]) -> None:
    """Set `operation` of every order that was answered 202: its final state, or the last one seen.

    However slow the machine is: it is asked for as long as some of them still come to an end.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    moved_at = time.monotonic()

    async def one(order: Order, location: str) -> None:
        nonlocal moved_at
        while True:
            async with gate:
                order.operation = await _ask(session, location)
            if order.operation.startswith(_FINISHED):
                moved_at = time.monotonic()
                return
            if time.monotonic() > moved_at + _STUCK_AFTER:
                return
            await asyncio.sleep(_ASK_EACH)

    accepted = {
        order.reference: (order, answer.location or "")
        for order in orders
        for answer in order.answers
        if answer.status == 202
    }
    await asyncio.gather(*(one(order, location) for order, location in accepted.values()))


async def _ask(session: aiohttp.ClientSession, location: str) -> str:
    """The state of an operation with the status of its answer, or what was said instead."""
    try:
        async with session.get(location) as answer:
            content = await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return f"unanswered ({type(error).__name__})"
    if "json" not in answer.content_type:
        return f"answered {answer.status}"
    told = json.loads(content)
    return f"{told.get('status')} {json.dumps(told)[:300]}"
