"""Running a request: once, or again, or not at all.

attempt ended with        may run again, time left   else
an answer below 400       it passes                  it passes
unresolved loss           wait for the database,     503: the commit's outcome is unknown, or
                          run again                  the database is away
no connection to be had   wait in line, run again    the application's own answer
other transient failure   back off, run again        the application's own answer
an exception              –                          the application's answer if it made one of
                                                     its own, else ours, classified
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from holdfast.asgi.absence import Absence
from holdfast.asgi.answers import Answers
from holdfast.asgi.attempts import fresh, in_own_task
from holdfast.asgi.body import Body
from holdfast.asgi.deadlines import Deadlines
from holdfast.asgi.door import Door, Turn
from holdfast.asgi.entrance import Entrance
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.journaling import Journaling
from holdfast.asgi.keyed import Keyed
from holdfast.asgi.keys import Keys
from holdfast.asgi.line import Verdict
from holdfast.asgi.needs import Needs
from holdfast.asgi.pausing import Pausing, passes_soon
from holdfast.asgi.postponing import Postponing, told_to_journal
from holdfast.asgi.telling import Telling
from holdfast.asgi.types import App, Metrics, Receive, Records, Scope, Send
from holdfast.context import Ledger, Request
from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database
from holdfast.events import BUS, Bus
from holdfast.faults.classify import classify
from holdfast.guard.allowance import PROCESS_BUDGET
from holdfast.policy.replay import Commit

_UNDONE = (Commit.NONE, Commit.ROLLED_BACK)
_CODES = {
    Verdict.TIMED_OUT: "database_unavailable",
    Verdict.OUTAGE_TOO_LONG: "database_unavailable",
    Verdict.FULL: "waiting_room_full",
    Verdict.STOPPING: "shutting_down",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How often and on what a request may be run again."""

    attempts: int = 3
    base_delay: float = 0.1
    body_bytes: int = 65536
    journal_after: float = 8.0


class Replay:
    """Runs requests through the application. One for each server loop."""

    def __init__(
        self,
        app: App,
        registry: Registry,
        door: Door,
        answers: Answers,
        deadlines: Deadlines,
        metrics: Metrics,
        records: Records,
        rules: Rules,
        keys: Keys,
        journaling: Journaling | None = None,
        place: str = "",
        bus: Bus = BUS,
    ) -> None:
        self.app = app
        self.door = door
        self.metrics = metrics
        self.answers = answers
        self.needs = Needs()
        self.keys = keys
        self._keyed = Keyed(self)
        self.absence = Absence()
        self._entrance = Entrance(self, self._keyed)
        self.postponing = Postponing(self, journaling, place, rules.journal_after)
        self.live: set[Exchange] = set()
        self._registry = registry
        self._deadlines = deadlines
        self.records = records
        self._rules = rules
        self.tell = Telling(bus)
        self._pausing = Pausing(door, self.tell, rules.base_delay)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(
        self, scope: Scope, receive: Receive, send: Send, request: Request, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Serve one request to its end. Raises what the application raised, once it is answered.

        The first attempt is made here; what follows a failure is another story.
        """
        body = Body(request, receive, self._rules.body_bytes)
        exchange = Exchange(self, scope, body, send, request)
        exchange.task = task = asyncio.current_task(loop)
        self.live.add(exchange)
        PROCESS_BUDGET.calls += 1
        self._deadlines.add(exchange)
        try:
            if (self.door.shut or not request.safe) and not await self._entrance.passes(exchange):
                return
            error: BaseException | None = None
            try:
                await self.app(fresh(scope), body.receive, exchange.send)
            except Exception as raised:  # noqa: BLE001 - judged below, and raised again there
                error = raised
            ledger = request.ledger
            if error is None and ledger.fault is None and exchange.kept is None and not exchange.expired:
                if exchange.status < 400:  # a refused form says nothing of what a good one needs
                    self.needs.learn(request.method, request.path, ledger.databases)
            else:
                await self._judge(exchange, error)
        except asyncio.CancelledError:
            if not (exchange.expired or self.door.cutting) or exchange.request.started:
                raise
            assert task is not None
            task.uncancel()  # it was the deadline's, or a stop's, and the client is told
            await self._end_early(exchange)
        finally:
            if exchange.turns or exchange.claim is not None or request.withheld:
                self._leaves(exchange)
            self.live.discard(exchange)
            self._deadlines.remove(exchange)
            body.close()

    async def turn_away(self, scope: Scope, receive: Receive, send: Send, code: str) -> None:
        """Answer a request that may not even wait."""
        request: Request = scope["holdfast"]
        body = Body(request, receive, self._rules.body_bytes)
        flaw = None if request.safe else self.keys.flaw(request)
        exchange = Exchange(self, scope, body, send, request)
        try:
            if flaw is not None:
                await self.refuse(exchange, flaw)
            else:
                await self.postponing.give_up(exchange, code, None)
        finally:
            body.close()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* beside, and keep it from being collected."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leaves(self, exchange: Exchange) -> None:
        self.give_up_turns(exchange, answered=False)
        if exchange.request.withheld:
            self.records.release(exchange.request)
        if exchange.claim is not None:
            self._keyed.releases(exchange)

    # ---- the door -------------------------------------------------------------------------------

    async def waited(self, exchange: Exchange, database: Database, *, entered: bool = False) -> bool:
        """Wait for *database*; False when the request has been answered, or dropped, instead."""
        verdict = await self.door.wait(database, exchange.request, exchange.body, entered=entered)
        return await self._follows(exchange, database, verdict)

    async def _follows(self, exchange: Exchange, database: Database, verdict: Verdict) -> bool:
        request = exchange.request
        if verdict is Verdict.GO:
            exchange.turns.append(Turn(self.door, database))
            if not await exchange.body.has_left_beyond():
                return True
            self.give_up_turns(exchange, answered=False)
            verdict = Verdict.GONE
        if verdict is Verdict.GONE:
            exchange.ended = True
            self.tell.abandoned(request)
            return False
        await self.postponing.give_up(exchange, _CODES[verdict], database)
        return False

    # ---- attempts -------------------------------------------------------------------------------

    async def _judge(self, exchange: Exchange, error: BaseException | None) -> None:
        """Decide what an attempt that did not simply pass comes to."""
        request = exchange.request
        while not exchange.expired and self._unresolved(exchange, error):
            if request.marker is not None and request.marker.existed:
                await self._keyed.applied_before(exchange)
                return
            if not await self._may_go_again(exchange):
                if exchange.ended:  # refused or dropped while it waited
                    self.records.release(request)
                    return
                break
            error = await self._again(exchange)
        if exchange.expired:
            await self._expire(exchange)
            return
        if request.started and exchange.kept is None:
            self._learn_from_coping(exchange, error)
            self._left(exchange, error)
        else:
            await self._conclude(exchange, error)

    def _learn_from_coping(self, exchange: Exchange, error: BaseException | None) -> None:
        """Who answers well although its database failed does without it: it need not wait for it."""
        request = exchange.request
        lost = request.ledger.lost
        if error is None and exchange.status < 400 and lost is not None:
            self.needs.learn(request.method, request.path, request.ledger.databases - {lost})

    def _unresolved(self, exchange: Exchange, error: BaseException | None) -> bool:
        """Whether the attempt's transient failure is what its answer is about."""
        ledger = exchange.request.ledger
        if ledger.fault is None or exchange.request.started:
            return False
        return error is not None or exchange.kept is not None or exchange.status == 0

    async def _may_go_again(self, exchange: Exchange) -> bool:
        """Wait until the request may be run again; False when it may not, or has been answered."""
        request = exchange.request
        ledger = request.ledger
        tried = ledger.attempts > 0 or ledger.sent > 0
        outwaited = passes_soon(ledger)
        spent = tried and request.attempt >= self._rules.attempts and not outwaited
        if spent or not request.may_run_again():
            return False
        self.give_up_turns(exchange, answered=False)
        if outwaited:
            return await self._outwaits(exchange)
        if ledger.lost is not None:
            database = self._registry.get(ledger.lost)
            if database is not None and (self.door.cutting or not database.settled):
                return await self._waited_again(exchange, database)
            return not self.door.cutting
        crowded = self._registry.get(ledger.crowded or "")
        if crowded is not None:
            return await self._waited_again(exchange, crowded)
        return await self._pausing.backs_off(exchange)

    async def _outwaits(self, exchange: Exchange) -> bool:
        """Wait for what passes by itself, though the database is there."""
        database = self._registry.get(exchange.request.ledger.read_only or "")
        if database is None:
            return await self._pausing.outwaits(exchange)
        exchange.discard()
        verdict = await self._pausing.until_writable(exchange, database)
        if verdict is Verdict.GO:
            return await self.waited(exchange, database, entered=True)
        return await self._follows(exchange, database, verdict)

    async def _waited_again(self, exchange: Exchange, database: Database) -> bool:
        exchange.discard()
        return await self.waited(exchange, database, entered=True)

    async def _again(self, exchange: Exchange) -> BaseException | None:
        """Run the application once more, from the beginning, in a context of its own."""
        request = exchange.request
        ledger = request.ledger
        if ledger.attempts or ledger.sent:
            request.attempt += 1
        self.tell.replayed(request)
        exchange.discard()
        exchange.replays += 1
        exchange.body.rewind()
        self.records.forget(request)
        request.ledger = Ledger()
        if request.marker is not None:
            request.marker.again()
        run = self.app(fresh(exchange.scope), exchange.body.receive, exchange.send)
        return await in_own_task(exchange, run)

    # ---- the end --------------------------------------------------------------------------------

    async def _conclude(self, exchange: Exchange, error: BaseException | None) -> None:
        """No further attempt: the application's answer, or ours."""
        request = exchange.request
        ledger = request.ledger
        self.records.release(request)
        away = ledger.lost or ledger.read_only
        lost = self._unresolved(exchange, error) and away is not None and not _overcome(ledger, error)
        doubt = ledger.commit in (Commit.UNKNOWN, Commit.SENT)
        if lost or doubt:
            code = _code_of(request.commit)
            await self.postponing.give_up(exchange, code, self._registry.get(away or ""))
            return
        void = exchange.voided_by(error)
        if void is None and (exchange.kept is None or self.answers.is_stock(exchange)):
            void = error
        if void is not None:
            self.answers.told(request, void)
            await self.answers.fail(exchange, void)
            if error is not None:
                raise error
        else:
            await exchange.flush()
            self._left(exchange, error)

    async def refuse(self, exchange: Exchange, code: str, database: Database | None = None) -> None:
        """Answer with the problem that *code* names, unless an answer has begun."""
        request = exchange.request
        self.give_up_turns(exchange, answered=False)
        if request.started:
            return
        told_to_journal(exchange, code)
        exchange.recorder = None  # what leaves now is not the application's answer
        status = await self.answers.refuse(exchange, code, database)
        self.tell.refused(request, status, code)

    async def _end_early(self, exchange: Exchange) -> None:
        """Its application was cancelled before it answered."""
        if exchange.expired:
            await self._expire(exchange)
            return
        commit = exchange.request.commit
        self.records.release(exchange.request)
        exchange.discard()
        await self.refuse(exchange, "shutting_down" if commit in _UNDONE else _code_of(commit))

    async def _expire(self, exchange: Exchange) -> None:
        self.records.release(exchange.request)
        if not exchange.ended and not exchange.request.started:
            await self.refuse(exchange, "deadline_exceeded")

    def _left(self, exchange: Exchange, error: BaseException | None) -> None:
        """The application's own answer has left; what it let out goes on, but for one thing: that
        its database failed it after a complete answer is told, and is no error of the request. It
        cannot be known whether that was a background task's work, or a session's last rollback."""
        request = exchange.request
        if error is None:
            return
        if exchange.ended and request.ledger.fault is not None:
            fault = classify(error, database=True)
            if fault.transient:
                self.tell.failed_after(request, exchange.status, error, fault.category)
                return
        self.answers.told(request, error, exchange.status)
        raise error

    def answered(self, exchange: Exchange) -> None:
        """The application's answer to a request with a story begins to leave, for good.

        Others go in its place now, and what it logged may be read: it may stream, or do something
        else after its answer, for hours.
        """
        request = exchange.request
        recovered = bool(exchange.turns or request.held_for or exchange.replays)
        self.give_up_turns(exchange, answered=True)
        if recovered:
            self.tell.recovered(request, exchange.status)
        if request.withheld:
            self.records.release(request)

    def give_up_turns(self, exchange: Exchange, *, answered: bool) -> None:
        """Let others go in its place."""
        while exchange.turns:
            exchange.turns.pop().give_back(answered=answered)


def _overcome(ledger: Ledger, error: BaseException | None) -> bool:
    """Whether the application tried again itself, and its answer is about what it found then."""
    return ledger.overcome and (error is None or not classify(error, database=True).transient)


def _code_of(commit: Commit) -> str:
    match commit:
        case Commit.UNKNOWN | Commit.SENT:
            return "commit_outcome_unknown"
        case Commit.COMMITTED:
            return "applied_but_interrupted"
        case Commit.NONE | Commit.ROLLED_BACK:
            return "database_unavailable"
