"""The door: where requests wait while their database is away, and whence they go in order.

    arrives       database away, room left        waits
    arrives       away for longer than the patience, or no room, or we are stopping   refused
    waits         database back, its turn         goes
    waits         time is up, or we are stopping  refused
    waits         client left                     dropped
    waits, and    one like it came too late       refused too, before it: what is written down
    postponable   to wait                         keeps its order

The owner of a door is the server's loop: every method is called there, and what the watch's
thread has to say is handed over with `call_soon_threadsafe`. After an outage those who waited go
first come first served, no faster than the answers come back: the window (`policy/window.py`)
starts small and opens while that helps, up to what the pool can serve.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from time import monotonic, process_time

from holdfast.asgi.body import Body
from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.databases.monitor import Drained
from holdfast.events import BUS, Bus, RequestHeld
from holdfast.policy.window import Window

LARGEST_WINDOW = 32


class Verdict(Enum):
    """What became of a request at the door."""

    GO = "go"
    TIMED_OUT = "timed out"
    OUTAGE_TOO_LONG = "outage too long"
    FULL = "full"
    STOPPING = "stopping"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Rules:
    """How long and how many may wait, seconds and requests."""

    max_wait: float = 10.0
    max_waiting: int = 1000
    fail_fast_after: float = 60.0


class Door:
    """The waiting room of one server loop."""

    def __init__(self, rules: Rules, report: Callable[[Database, Drained], None], bus: Bus = BUS) -> None:
        self.rules = rules
        self.shut = False  # whether anyone has to ask at all: the one thing the fast path reads
        self.stopping = False
        self.waiting = 0
        self.waiting_inside = 0  # of them, those who have been inside
        self._bus = bus
        self._report = report
        self._queues: dict[str, Queue] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unlisten: list[Callable[[], None]] = []

    def open_for(self, databases: Iterable[Database], loop: asyncio.AbstractEventLoop) -> None:
        """Listen to *databases* from now on; ones already known are left as they are."""
        self._loop = loop
        for database in databases:
            if database.name not in self._queues:
                self._queues[database.name] = Queue(database)
                self._unlisten.append(database.listen(self._changed))
        self._refresh_shut()

    def close(self) -> None:
        """We are stopping: whoever waits is refused, and nobody may wait any more."""
        self.stopping = True
        for queue in self._queues.values():
            while queue.waiters:
                queue.waiters.popleft().settle(Verdict.STOPPING)

    def leaves_with(self, undo: Callable[[], None]) -> None:
        """Call *undo* when the door is left."""
        self._unlisten.append(undo)

    def leave(self) -> None:
        """Listen to nobody any more."""
        for unlisten in self._unlisten:
            unlisten()
        self._unlisten.clear()

    def waiting_for(self, name: str) -> int:
        """How many wait for the database of that name. From any thread."""
        queue = self._queues.get(name)
        return 0 if queue is None else len(queue.waiters)

    def first_shut(self, names: Iterable[str]) -> Database | None:
        """The first of those databases that a new request would have to wait for."""
        for name in names:
            queue = self._queues.get(name)
            if queue is not None and (queue.database.away or queue.waiters):
                return queue.database
        return None

    async def wait(
        self, database: Database, request: Request, body: Body, *, entered: bool = False
    ) -> Verdict:
        """Wait until it is *request*'s turn. With GO, `went` has to be called when it was answered.

        *entered* says that the application has begun with it, and the database failed underneath.
        """
        refused = self._refused_at_once(database, entered=entered)
        if refused is not None:
            if request.patience_s is not None and refused is not Verdict.STOPPING:
                await self._send_ahead(database)
            return refused
        patience = self.rules.max_wait
        if request.patience_s is not None:
            patience = min(patience, request.patience_s)
        left = min(patience - request.held_for, request.deadline_at - monotonic())
        if left <= 0:
            return Verdict.TIMED_OUT
        queue = self._queue_of(database)
        postponable = request.patience_s is not None
        waiter = Waiter(asyncio.get_running_loop(), left, request.arrived_at, queue.give_up, postponable)
        queue.join(waiter)
        self.waiting += 1
        self.waiting_inside += entered
        began = monotonic()
        self._bus.publish(
            RequestHeld(
                request_id=request.id, method=request.method, path=request.path, database=database.name
            )
        )
        body.watch(waiter.gone)
        self._advance(queue)
        try:
            verdict = await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                self._return_turn(queue, waiter.future.result())
            raise
        finally:
            self.waiting -= 1
            self.waiting_inside -= entered
            waiter.close()
            body.unwatch()
            request.held_for += monotonic() - began
            with contextlib.suppress(ValueError):
                queue.waiters.remove(waiter)
        if verdict is Verdict.GO and request.abandoned:
            self._return_turn(queue, verdict)
            return Verdict.GONE
        return verdict

    def went(self, database: Database, *, answered: bool) -> None:
        """A request that was let go has been answered, or has failed again."""
        queue = self._queue_of(database)
        queue.going -= 1
        if answered:
            queue.window.answered(monotonic(), process_time(), queue.largest())
        self._advance(queue)

    # ---- inside ---------------------------------------------------------------------------------

    def _is_full(self, database: Database, *, entered: bool) -> bool:
        """The bound is on those who have not been inside. Those whom the outage met inside may
        exceed it by a quarter; while the database is coming back, all leave faster than they come."""
        most = self.rules.max_waiting * (1 if database.away else 2)
        if self.waiting >= most + most // 4:
            return True
        return not entered and self.waiting - self.waiting_inside >= most

    def _refused_at_once(self, database: Database, *, entered: bool) -> Verdict | None:
        if self.stopping:
            return Verdict.STOPPING
        since = database.away_since
        if since is not None and monotonic() - since > self.rules.fail_fast_after:
            return Verdict.OUTAGE_TOO_LONG
        if self._is_full(database, entered=entered):
            return Verdict.FULL
        return None

    async def _send_ahead(self, database: Database) -> None:
        """Whoever waits and can be written down instead goes before one that need not wait at all."""
        for waiter in list(self._queue_of(database).waiters):
            if waiter.postponable:
                waiter.settle(Verdict.TIMED_OUT)
        await asyncio.sleep(0)  # one turn, in which all of them hand over what is to be written

    def _queue_of(self, database: Database) -> Queue:
        queue = self._queues.get(database.name)
        if queue is None:
            self.open_for([database], asyncio.get_running_loop())
            queue = self._queues[database.name]
        return queue

    def _return_turn(self, queue: Queue, verdict: Verdict) -> None:
        if verdict is Verdict.GO:
            queue.going -= 1
            self._advance(queue)

    def _changed(self, database: Database) -> None:
        """In the watch's thread: the state of *database* has changed."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the server's loop has ended
                loop.call_soon_threadsafe(self._follow, database)

    def _follow(self, database: Database) -> None:
        queue = self._queue_of(database)
        if database.away:
            queue.window.narrow()
        self._advance(queue)
        self._refresh_shut()

    def _advance(self, queue: Queue) -> None:
        """Let go as many as the window allows, and say so when nobody is left."""
        if not queue.database.settled:
            return
        while queue.waiters and queue.going < queue.window.width:
            if queue.waiters.popleft().settle(Verdict.GO):
                queue.going += 1
        if not queue.waiters:
            self._report(queue.database, Drained())
            if self.shut:
                self._refresh_shut()

    def _refresh_shut(self) -> None:
        self.shut = self.stopping or any(
            queue.database.away or queue.waiters for queue in self._queues.values()
        )


class Queue:
    """Those who wait for one database, and how many of them may be under way."""

    __slots__ = ("database", "going", "waiters", "window")

    def __init__(self, database: Database) -> None:
        self.database = database
        self.waiters: deque[Waiter] = deque()
        self.going = 0
        self.window = Window()

    def join(self, waiter: Waiter) -> None:
        """Stand in line by the time of arrival: whoever was inside when it happened came first."""
        waiters = self.waiters
        behind = 0
        while behind < len(waiters) and waiters[-1 - behind].arrived_at > waiter.arrived_at:
            behind += 1
        waiters.insert(len(waiters) - behind, waiter)

    def give_up(self, late: Waiter) -> None:
        """*late* has waited long enough. If it is written down, whoever came before it goes first:
        the outage may have met them inside, so that they began to wait after it."""
        if late.postponable:
            for waiter in self.waiters:
                if waiter is late:
                    break
                if waiter.postponable:
                    waiter.settle(Verdict.TIMED_OUT)
        late.settle(Verdict.TIMED_OUT)

    def largest(self) -> int:
        """As many as the pool has connections, within reason."""
        return min(LARGEST_WINDOW, self.database.pool()["max"] or LARGEST_WINDOW)


class Waiter:
    """One request that waits: a future that is settled once, by whatever comes first."""

    __slots__ = ("_timer", "arrived_at", "future", "postponable")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        arrived_at: float,
        give_up: Callable[[Waiter], None],
        postponable: bool = False,
    ) -> None:
        self.arrived_at = arrived_at
        self.postponable = postponable  # it can be written down instead
        self.future: asyncio.Future[Verdict] = loop.create_future()
        self._timer = loop.call_later(timeout, give_up, self)

    def settle(self, verdict: Verdict) -> bool:
        """Decide, unless it was decided before; whether it was this call."""
        if self.future.done():
            return False
        self.future.set_result(verdict)
        return True

    def gone(self) -> None:
        """The client has left."""
        self.settle(Verdict.GONE)

    def close(self) -> None:
        """Let the timer go."""
        self._timer.cancel()
