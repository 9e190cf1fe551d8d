"""Rests between two attempts at a request whose database answers.

    failed by chance (a race, a deadlock)      full jitter, within the budget that all retries share
    the server has no connection left (53300)  rests, longer each time, as long as it may wait
      it would come too late, or we stop       told as it is
      its client leaves meanwhile              dropped
    the server takes no writes (25006)         waits until the watch has found that it does

A server takes no writes where a primary was demoted and its name does not lead to the next one yet:
for seconds each write fails at once, although a moment later it would not. Reads go on meanwhile. One
that is full lets nobody in, but those it has let in are served, and give their connections back.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from holdfast.asgi.line import Verdict
from holdfast.context import Ledger
from holdfast.databases.database import Database, wake
from holdfast.faults.verdicts import READ_ONLY
from holdfast.guard.allowance import PROCESS_BUDGET

if TYPE_CHECKING:
    from holdfast.asgi.door import Door
    from holdfast.asgi.exchange import Exchange
    from holdfast.asgi.telling import Telling

FULL = "53300"
_FIRST_S, _MOST_S = 0.05, 0.5
_APART_S = 0.01  # between the attempts of two who rest: hundreds at once would be the end of a full server


def passes_soon(ledger: Ledger) -> bool:
    """Whether the attempt failed because its server lets nobody in, or takes no writes, for a while."""
    code = None if ledger.fault is None else ledger.fault.code
    return code == FULL or (code == READ_ONLY and ledger.read_only is not None)


class Pausing:
    """The rests of the requests of one application."""

    def __init__(self, door: Door, tell: Telling, base_delay: float) -> None:
        self._door = door
        self._tell = tell
        self._base_delay = base_delay
        self._free_at = 0.0  # monotonic, when the next one of those who rest may try
        self._dice = random.Random()

    async def backs_off(self, exchange: Exchange) -> bool:
        """Rest before another attempt, unless none is left. What attempted nothing costs no retry."""
        request = exchange.request
        if (request.ledger.attempts or request.ledger.sent) and not PROCESS_BUDGET.take():
            return False
        delay = self._dice.random() * self._base_delay * 2.0 ** (request.attempt - 1)
        if monotonic() + delay >= request.deadline_at:
            return False
        await asyncio.sleep(delay)
        return True

    async def outwaits(self, exchange: Exchange) -> bool:
        """Rest before the server is asked again; False when it is not."""
        request = exchange.request
        now = monotonic()
        rest = min(_MOST_S, _FIRST_S * 2.0**exchange.replays) * (0.5 + self._dice.random() / 2)
        at = max(now + rest, self._free_at)
        pause = at - now
        if self._door.stopping or pause > self._door.left(request):
            return False
        self._free_at = at + _APART_S
        if await self._leaves_within(exchange, pause):
            exchange.ended = True
            self._tell.abandoned(request)
            return False
        request.held_for += pause
        return True

    async def until_writable(self, exchange: Exchange, database: Database) -> Verdict:
        """Wait until *database* takes writes, in no line: hundreds of attempts would only be refused.

        The time of the attempts counts, too: one that is refused again and again is told.
        """
        door, loop = self._door, asyncio.get_running_loop()
        if database.clock.monotonic() - database.refusing_since > door.rules.fail_fast_after:
            return Verdict.OUTAGE_TOO_LONG
        if monotonic() - exchange.request.arrived_at > door.rules.max_wait:
            return Verdict.TIMED_OUT
        writable = loop.create_future()
        forget = database.when_writable(partial(wake, loop, writable))
        try:
            return await door.wait_beside(writable, database, exchange.request, exchange.body, entered=True)
        finally:
            forget()

    async def _leaves_within(self, exchange: Exchange, seconds: float) -> bool:
        """Whether its client leaves in that time."""
        gone = asyncio.Event()
        exchange.body.watch(gone.set)
        try:
            async with asyncio.timeout(seconds):
                await gone.wait()
        except TimeoutError:
            return False
        finally:
            exchange.body.unwatch()
        return True
