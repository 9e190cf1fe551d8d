"""The PostgreSQL under the shop: who may stop and start it, and how long it has been away.

One change at a time; the server's own calls block, so they run in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from holdfast.drill.postgresql import PostgreSQL

_COUNT_ORDERS = "SELECT reference, count(*) FROM orders GROUP BY reference"


class State(Enum):
    """What the database is doing."""

    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"


@dataclass(slots=True)
class Outage:
    """The database was away, or still is (`ended_at` is None); moments are monotonic seconds."""

    began_at: float
    ended_at: float | None = None


class Bench:
    """A started PostgreSQL with two buttons."""

    def __init__(self, server: PostgreSQL, changed: Callable[[], None]) -> None:
        self.state = State.RUNNING
        self.outages: list[Outage] = []
        self.port = server.port
        self._server = server
        self._changed = changed
        self._turn = asyncio.Lock()

    async def stop(self) -> None:
        """Stop it hard: no farewell to anybody, as in a crash. Stopped already is fine."""
        async with self._turn:
            if self.state is not State.RUNNING:
                return
            self.outages.append(Outage(monotonic()))
            self._become(State.STOPPING)
            await asyncio.to_thread(self._server.stop, "immediate")
            self._become(State.STOPPED)

    async def start(self) -> None:
        """Start it and wait until it accepts connections; running already is fine.

        Raises ServerError when it does not start; it is stopped then.
        """
        async with self._turn:
            if self.state is not State.STOPPED:
                return
            self._become(State.STARTING)
            try:
                await asyncio.to_thread(self._server.start)
            except BaseException:
                self._become(State.STOPPED)
                raise
            self.outages[-1].ended_at = monotonic()
            self._become(State.RUNNING)

    def notice(self) -> None:
        """See whether it has ended by itself, or by another hand."""
        if self.state is State.RUNNING and not self._turn.locked() and not self._server.running:
            self.outages.append(Outage(monotonic()))
            self._become(State.STOPPED)

    async def orders(self) -> dict[str, int]:
        """How often each order stands in the database, by reference. Raises ServerError when it is away."""
        rows = await asyncio.to_thread(self._server.execute, _COUNT_ORDERS)
        return {reference: int(times) for reference, times in rows}

    async def rest(self) -> None:
        """Return when no change is under way."""
        async with self._turn:
            return

    def _become(self, state: State) -> None:
        self.state = state
        self._changed()
