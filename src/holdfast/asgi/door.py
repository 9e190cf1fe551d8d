"""The door: where requests wait while their database is away, and whence they go in order.

    arrives       database away, room left        waits
    arrives       away for longer than the patience, or no room, or we are stopping   refused
    waits         database back, its turn         goes
    waits         threads crowd its pool          waits on: inside it could only wait, too
    waits         time is up, or we are stopping  refused
    waits         client left                     dropped
    waits, and    one like it came too late       refused too, before it: what is written down
    postponable   to wait                         keeps its order
    has its turn  answers, fails, or lingers      the next one goes
    stands beside what it asked is answered       goes: its database is there, and had no time for it
    arrives       the application shuts down      refused, whatever it needs (`entrance.py`)

The owner of a door is the server's loop: every method is called there, and what the watch's
thread has to say is handed over with `call_soon_threadsafe`. After an outage those who waited go
first come first served (`line.py`), no faster than the answers come back: the window
(`policy/window.py`) starts small and opens while that helps, up to what the pool can serve.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from holdfast.asgi.body import Body
from holdfast.asgi.cores import ONE_CORE, usage
from holdfast.asgi.line import Line, Verdict, Waiter
from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.databases.monitor import Drained
from holdfast.events import BUS, Bus, RequestHeld

LONGEST_TURN_S = 0.5  # whoever lingers waits for something else, or is slow: others need not wait for it
WRITING_S = 1.0  # of a request's time that is kept for writing it down, half of a shorter one
_LOOK_AGAIN_S = 0.02


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
        self.locked = False  # nobody enters any more
        self.cutting = False  # connections are ended under whoever is left: nobody runs again
        self.waiting = 0
        self.waiting_inside = 0  # of them, those who have been inside
        self._bus = bus
        self._report = report
        self._lines: dict[str, Line] = {}
        self._beside: set[Waiter] = set()  # in no line: nobody's turn lets them go
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unlisten: list[Callable[[], None]] = []
        self._looking: asyncio.TimerHandle | None = None

    def open_for(self, databases: Iterable[Database], loop: asyncio.AbstractEventLoop) -> None:
        """Listen to *databases* from now on; ones already known are left as they are."""
        self._loop = loop
        for database in databases:
            if database.name not in self._lines:
                self._lines[database.name] = Line(database)
                self._unlisten.append(database.listen(self._changed))
        self._refresh_shut()

    def close(self) -> None:
        """We are stopping: whoever waits is refused, and nobody may wait any more."""
        self.stopping = True
        for line in self._lines.values():
            for waiter in line:
                waiter.settle(Verdict.STOPPING)
        for waiter in self._beside:
            waiter.settle(Verdict.STOPPING)

    def lock(self) -> None:
        """The application shuts down: nobody enters it any more, for good."""
        self.close()
        self.locked = self.shut = True

    def leaves_with(self, undo: Callable[[], None]) -> None:
        """Call *undo* when the door is left."""
        self._unlisten.append(undo)

    def leave(self) -> None:
        """Listen to nobody any more."""
        for unlisten in self._unlisten:
            unlisten()
        self._unlisten.clear()
        for line in self._lines.values():
            ONE_CORE.ask(line, wanted=False)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def waiting_for(self, name: str) -> int:
        """How many wait for the database of that name. From any thread."""
        line = self._lines.get(name)
        return 0 if line is None else len(line)

    def first_shut(self, names: Iterable[str]) -> Database | None:
        """The first of those databases that a new request would have to wait for."""
        for name in names:
            line = self._lines.get(name)
            if line is not None and (line.database.away or len(line)):
                return line.database
        return None

    async def wait(
        self, database: Database, request: Request, body: Body, *, entered: bool = False
    ) -> Verdict:
        """Wait until it is *request*'s turn. With GO, a `Turn` has to be made, and given back when its
        answer begins.

        *entered* says that the application has begun with it, and the database failed underneath.
        """
        refused = self._refused_at_once(database, entered=entered)
        if refused is not None:
            if request.patience_s is not None and refused is not Verdict.STOPPING:
                await self._send_ahead(database)
            return refused
        left = self.left(request)
        if left <= 0:
            return Verdict.TIMED_OUT
        line = self._line_of(database)
        postponable = request.patience_s is not None
        waiter = Waiter(asyncio.get_running_loop(), left, request.arrived_at, line.give_up, postponable)
        line.join(waiter)
        try:
            with self._held(waiter, database, request, body, entered=entered):
                self._advance(line)
                try:
                    verdict = await waiter.future
                except asyncio.CancelledError:
                    if waiter.future.done() and not waiter.future.cancelled():
                        self._return_turn(line, waiter.future.result())
                    raise
        finally:
            line.leave(waiter)
            if self.shut and not len(line):
                self._refresh_shut()
        if verdict is Verdict.GO and request.abandoned:
            self._return_turn(line, verdict)
            return Verdict.GONE
        return verdict

    async def wait_beside(
        self,
        asked: asyncio.Future[Any],
        database: Database,
        request: Request,
        body: Body,
        *,
        entered: bool = False,
    ) -> Verdict:
        """Wait for *asked*, put to *database* for *request* until it has time to answer: as long as one
        waits in line, but in none, for nothing comes of a turn. With GO it is answered, or has failed."""
        refused = self._refused_at_once(database, entered=entered)
        left = self.left(request)
        if refused is not None or left <= 0:
            return refused or Verdict.TIMED_OUT
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop, left, request.arrived_at, _too_late)
        asked.add_done_callback(lambda _: waiter.settle(Verdict.GO))
        self._beside.add(waiter)
        try:
            with self._held(waiter, database, request, body, entered=entered):
                verdict = await waiter.future
        finally:
            self._beside.discard(waiter)
        return Verdict.GONE if request.abandoned else verdict

    def left(self, request: Request) -> float:
        """For how many more seconds *request* may wait."""
        left = request.deadline_at - monotonic()
        if request.patience_s is None:
            return min(self.rules.max_wait - request.held_for, left)
        patience = min(self.rules.max_wait, request.patience_s)  # and then it is written down, in time
        return min(patience - request.held_for, max(left - WRITING_S, left / 2))

    def went(self, database: Database, *, answered: bool) -> None:
        """A request that was let go is no longer waited for."""
        line = self._line_of(database)
        line.going -= 1
        if answered:
            line.window.answered(monotonic(), usage(), line.largest())
        self._advance(line)

    # ---- inside ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(
        self, waiter: Waiter, database: Database, request: Request, body: Body, *, entered: bool
    ) -> Iterator[None]:
        """While *request* waits: it is counted and told, and its client is watched."""
        self.waiting += 1
        self.waiting_inside += entered
        began = monotonic()
        self._bus.publish(
            RequestHeld(
                request_id=request.id, method=request.method, path=request.path, database=database.name
            )
        )
        body.watch(waiter.gone)
        try:
            yield
        finally:
            self.waiting -= 1
            self.waiting_inside -= entered
            waiter.close()
            body.unwatch()
            request.held_for += monotonic() - began

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
        for waiter in self._line_of(database):
            if waiter.postponable:
                waiter.settle(Verdict.TIMED_OUT)
        await asyncio.sleep(0)  # one turn, in which all of them hand over what is to be written

    def _line_of(self, database: Database) -> Line:
        line = self._lines.get(database.name)
        if line is None:
            self.open_for([database], asyncio.get_running_loop())
            line = self._lines[database.name]
        return line

    def _return_turn(self, line: Line, verdict: Verdict) -> None:
        if verdict is Verdict.GO:
            line.going -= 1
            self._advance(line)

    def _changed(self, database: Database) -> None:
        """In the watch's thread: the state of *database* has changed."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the server's loop has ended
                loop.call_soon_threadsafe(self._follow, database)

    def _follow(self, database: Database) -> None:
        line = self._line_of(database)
        if database.away:
            line.window.narrow()
        self._advance(line)
        self._refresh_shut()

    def _advance(self, line: Line) -> None:
        """Let go as many as may go, on one core where that is better."""
        self._let_go(line)
        ONE_CORE.ask(line, wanted=line.window.one_core and len(line) > 0)

    def _let_go(self, line: Line) -> None:
        """Let go as many as the window allows, and say so when nobody is left."""
        if not line.database.settled:
            line.stops()
            return
        if len(line) and line.database.crowded():
            line.stops()
            self.shut = True  # whoever comes stands behind them
            self._look_again()
            return
        line.moves(monotonic())
        while len(line) and line.going < line.window.width:
            if line.next().settle(Verdict.GO):
                line.going += 1
        if not len(line):
            self._report(line.database, Drained())
            if self.shut:
                self._refresh_shut()

    def _look_again(self) -> None:
        """The threads that crowd a pool tell nobody when they have gone."""
        if self._looking is None and self._loop is not None:
            self._looking = self._loop.call_later(_LOOK_AGAIN_S, self._advance_all)

    def _advance_all(self) -> None:
        self._looking = None
        for line in self._lines.values():
            self._advance(line)

    def _refresh_shut(self) -> None:
        self.shut = self.locked or any(line.database.away or len(line) for line in self._lines.values())


def _too_late(waiter: Waiter) -> None:
    waiter.settle(Verdict.TIMED_OUT)


class Turn:
    """Leave to use a database again, given to one request; its place goes to the next one once."""

    __slots__ = ("_database", "_door", "_lingers")

    def __init__(self, door: Door, database: Database) -> None:
        self._door: Door | None = door
        self._database = database
        lingers = partial(self.give_back, answered=True)
        self._lingers = asyncio.get_running_loop().call_later(LONGEST_TURN_S, lingers)

    def give_back(self, *, answered: bool) -> None:
        """The answer to its request begins to leave, or it has failed again."""
        door, self._door = self._door, None
        if door is not None:
            self._lingers.cancel()
            door.went(self._database, answered=answered)
