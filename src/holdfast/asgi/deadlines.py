"""No request outlives its deadline: one timer for each length, not one for each request.

Requests of one length expire in the order in which they came, so it is enough to set a timer for
the oldest. Past the deadline the attempt is cancelled; an application that does not let itself be
cancelled loses the right to answer a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from holdfast.asgi.exchange import Exchange
from holdfast.context import Request

GRACE_S = 0.25


class Deadlines:
    """The deadlines of one loop's requests. `late` answers for an attempt that does not end."""

    def __init__(
        self,
        late: Callable[[Exchange], Coroutine[Any, Any, None]],
        cancel: Callable[[Request], None] = lambda _: None,
    ) -> None:
        self._late = late
        self._cancel = cancel  # what a thread of the request waits for in a database
        self._live: dict[float, dict[Exchange, None]] = {}
        self._armed: set[float] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, exchange: Exchange) -> None:
        """From now on *exchange* is ended at its deadline."""
        length = exchange.request.timeout_s
        live = self._live.get(length)
        if live is None:
            live = self._live[length] = {}
        if length not in self._armed:
            self._armed.add(length)
            asyncio.get_running_loop().call_later(length, self._fire, length)
        live[exchange] = None

    def remove(self, exchange: Exchange) -> None:
        """It is over."""
        self._live[exchange.request.timeout_s].pop(exchange, None)

    def _fire(self, length: float) -> None:
        live = self._live[length]
        now = monotonic()
        loop = asyncio.get_running_loop()
        while live:
            exchange = next(iter(live))
            left = exchange.request.deadline_at - now
            if left > 0.001:
                loop.call_later(left, self._fire, length)
                return
            del live[exchange]
            self._end(exchange, loop)
        self._armed.discard(length)

    def _end(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        if exchange.request.kind != "http" or exchange.request.started:
            return  # what streams has answered in time
        exchange.expired = True
        if exchange.task is not None:
            exchange.task.cancel()
        self._cancel(exchange.request)
        loop.call_later(GRACE_S, self._insist, exchange)

    def _insist(self, exchange: Exchange) -> None:
        if not exchange.ended and not exchange.request.started:
            task = asyncio.ensure_future(self._late(exchange))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
