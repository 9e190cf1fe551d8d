"""The journal's worker: leases entries, has them run, and writes down what became of them.

A shell owned by the server's loop; what an attempt comes to is decided in `attempt.py`. Entries
follow one another as a chain: what became of one and the lease of the next are handed to the
journal in one go, so that they share its one commit. Leases are prolonged while their runs last.

An entry whose process ended while it ran may have ended it: it runs again alone, so that no other one
is charged with the next end, and not for ever (`spent`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.events import BUS, Bus
from holdfast.policy.backoff import Backoff
from holdfast.work.attempt import Absent, Ended, Raised, outcome_of, spent
from holdfast.work.entry import KEEP_S, LEASE_S, Entry, Holder, Outcome, State, given_back
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal import Journal, JournalError
from holdfast.work.progress import Progress, path_of

T = TypeVar("T")
Run: TypeAlias = Callable[[Entry], Awaitable[Ended]]

_AGAIN = Backoff(first=0.2, cap=30.0)
_BACK = Backoff(first=0.2, cap=2.0)  # nothing is leased while the database is known to be away
_GIVE_BACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How many run at once, how often each is attempted, and the worker's rhythm in seconds."""

    concurrency: int = 4
    attempts: int = 3
    longest_s: float = 120.0  # that a run may take, waiting for its database included
    lease_s: float = LEASE_S
    tick_s: float = 1.0
    prune_every_s: float = 600.0
    keep_s: float = KEEP_S


class _Live:
    """An entry that we hold."""

    __slots__ = ("entry", "followed", "lost", "settling", "task")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.followed = False  # by another one in its place
        self.lost = False  # somebody else holds it by now
        self.settling = False  # its run is over
        self.task: asyncio.Task[None] | None = None


class Drain:
    """Runs what the journal holds, in order, as long as *ready* says that the databases are there."""

    def __init__(
        self,
        journal: Journal,
        run: Run,
        ready: Callable[[], bool],
        rules: Rules | None = None,
        *,
        bus: Bus = BUS,
        clock: Clock = SYSTEM_CLOCK,
        holder: Holder | None = None,
    ) -> None:
        self._journal = journal
        self._run = run
        self._ready = ready
        self._rules = rules or Rules()
        self._progress = Progress(journal.place, bus, clock)
        self._clock = clock
        self._holder = holder or holder_of_this_process()
        self._dice = random.Random()
        self._live: dict[int, _Live] = {}
        self._alone: int | None = None  # an entry that runs with no other, or is to
        self._given_back: list[Future[bool]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._absences = 0  # in a row
        self._renew_at = 0.0
        self._prune_at = 0.0

    @property
    def running(self) -> int:
        """How many entries are held."""
        return len(self._live)

    def start(self) -> None:
        """Begin, on the running loop, in a copy of the present context."""
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._keeper = self._loop.create_task(self._keep(), name="holdfast journal")

    def wake(self) -> None:
        """There may be something to do: an entry was accepted, a database is back. From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._woken.set)

    async def stop(self, within: float, cut: Callable[[], None] = lambda: None) -> list[str]:
        """Lease nothing more, wait *within* seconds for what runs, then cancel it and give it back.

        Before that *cut* ends what it waits for: a thread is not cancelled. The requests that were
        cancelled, by method and path.
        """
        self._stopping = True
        self._woken.set()
        working = [self._keeper, *(live.task for live in self._live.values())]
        tasks = {task for task in working if task is not None}
        left = (await asyncio.wait(tasks, timeout=within))[1] if tasks else set()
        named = [_named(live.entry) for live in self._live.values() if not live.settling]
        if left:
            cut()
        for task in left:
            task.cancel()
        if left:
            left = (await asyncio.wait(left, timeout=_GIVE_BACK_S / 2))[1]
        if left:
            cut()  # a thread has begun with another statement
            await asyncio.wait(left, timeout=_GIVE_BACK_S / 2)
        if self._given_back:
            waiting = [asyncio.wrap_future(one) for one in self._given_back]
            await asyncio.wait(waiting, timeout=_GIVE_BACK_S)
        return named

    # ---- the rhythm -----------------------------------------------------------------------------

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._woken.clear()
            for step in (self._fill, self._renew, self._prune):
                try:
                    await step(loop.time())
                except Exception as error:  # noqa: BLE001 - told, and tried again at the next tick
                    self._progress.failing(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._rules.tick_s)

    async def _fill(self, now: float) -> None:  # noqa: ARG002 - the steps are alike
        room = 1 if self._alone is not None else self._rules.concurrency - len(self._live)
        if room <= 0 or not self._may_lease():
            return
        entries = await self._asked(self._lease(room))
        if not entries and not self._live:
            self._alone = None  # somebody else has it
        for entry in entries:
            self._begin(entry)
        if not self._live and self._progress.finished:
            backlog = await self._asked(self._journal.backlog())
            if not backlog.entries:
                self._progress.drained()

    async def _renew(self, now: float) -> None:
        if now < self._renew_at:
            return
        self._renew_at = now + self._rules.lease_s / 3
        held = [live for live in self._live.values() if not live.settling]
        if not held:
            return
        numbers = [live.entry.number for live in held]
        until = self._clock.wall() + self._rules.lease_s
        kept = await self._asked(self._journal.renew(numbers, self._holder, until))
        ours = set(kept)
        for live in held:
            if live.entry.number not in ours and not live.settling and live.task is not None:
                live.lost = True
                live.task.cancel()

    async def _prune(self, now: float) -> None:
        if now >= self._prune_at:
            self._prune_at = now + self._rules.prune_every_s
            await self._asked(self._journal.prune(self._clock.wall() - self._rules.keep_s))

    # ---- one entry ------------------------------------------------------------------------------

    def _may_lease(self) -> bool:
        return not self._stopping and self._ready() and (self._alone is None or not self._live)

    def _lease(self, most: int) -> Future[list[Entry]]:
        now = self._clock.wall()
        return self._journal.lease(most, self._holder, now + self._rules.lease_s, now)

    def _begin(self, entry: Entry) -> bool:
        """Run it, unless it has to be given back; whether it runs."""
        known = self._live.get(entry.number)
        if known is not None and not known.settling:
            return True  # our lease ran out and came back to us: it still runs
        if self._stopping or not self._takes(entry):
            self._given_back = [one for one in self._given_back if not one.done()]
            self._given_back.append(self._finish(entry, given_back(entry)))
            return False
        assert self._loop is not None
        self._progress.began()
        live = self._live[entry.number] = _Live(entry)
        live.task = self._loop.create_task(self._work(live), context=self._context.copy())
        return True

    def _takes(self, entry: Entry) -> bool:
        """Whether it may run now. One that was interrupted runs alone, as soon as nothing else does."""
        if self._alone in self._live:
            return False
        others = any(not live.settling for live in self._live.values())
        if entry.interruptions:
            self._alone = entry.number
            return not others
        if not others and self._alone is not None and self._alone < entry.number:
            self._alone = None  # it has a pause, or somebody else has it
        return True

    async def _work(self, live: _Live) -> None:
        number = live.entry.number
        try:
            ended = spent(live.entry, self._rules.attempts) or await self._attempt(live)
            live.settling = True
            if live.lost:
                return
            self._absences = self._absences + 1 if isinstance(ended, Absent) else 0
            outcome = outcome_of(live.entry, ended, self._rules.attempts, self._delay(live.entry, ended))
            await self._settle(live, outcome, ended)
        finally:
            if self._live.get(number) is live:
                del self._live[number]
            if self._alone == number:
                self._alone = None
            if not live.followed:
                self._woken.set()

    async def _attempt(self, live: _Live) -> Ended:
        try:
            async with asyncio.timeout(self._rules.longest_s):
                return await self._run(live.entry)
        except asyncio.CancelledError:
            if self._stopping or live.lost:
                assert live.task is not None
                live.task.uncancel()
                return Absent("shutting_down")
            return Raised("CancelledError")
        except TimeoutError:
            return Raised("TimeoutError")
        except Exception as error:  # noqa: BLE001 - the application may raise anything
            return Raised(type(error).__name__)

    async def _settle(self, live: _Live, outcome: Outcome, ended: Ended) -> None:
        """Write down *outcome*, and lease the next one in the same go."""
        entry = live.entry
        writing = self._finish(entry, outcome)
        if self._may_lease():
            live.followed = await self._follow(self._lease(1))
        if not await self._written(entry, outcome, writing):
            return
        if outcome.state is State.PENDING:
            assert self._loop is not None
            self._loop.call_later(outcome.delay_s, self._woken.set)
            self._progress.deferred(entry, outcome, ended)
        else:
            self._progress.ended(entry, outcome)

    async def _follow(self, leasing: Future[list[Entry]]) -> bool:
        """Begin with the one that was leased; whether it runs."""
        try:
            entries = await self._asked(leasing)
        except Exception as error:  # noqa: BLE001 - told; the keeper leases at its next tick
            self._progress.failing(error)
            return False
        return bool(entries) and self._begin(entries[0])

    async def _written(self, entry: Entry, outcome: Outcome, writing: Future[bool]) -> bool:
        """Whether *outcome* stands in the journal; it is tried for as long as the entry is ours."""
        failed = 0
        while True:
            try:
                return await self._asked(writing)
            except Exception as error:  # noqa: BLE001 - told, and tried again
                self._progress.failing(error)
            if self._stopping:
                return False  # its lease runs out; its key lets its effect happen once
            failed += 1
            await asyncio.sleep(_BACK.delay(failed, self._dice))
            writing = self._finish(entry, outcome)

    def _finish(self, entry: Entry, outcome: Outcome) -> Future[bool]:
        return self._journal.finish(entry.number, self._holder, outcome, self._clock.wall())

    def _delay(self, entry: Entry, ended: Ended) -> float:
        if self._stopping:
            return 0.0
        if isinstance(ended, Absent):
            return _BACK.delay(self._absences, self._dice)
        return _AGAIN.delay(entry.attempts + 1, self._dice)

    async def _asked(self, asked: Future[T]) -> T:
        """What the journal says. Raises JournalError, after a third of a lease at the latest."""
        within = self._rules.lease_s / 3
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked), within)
        except TimeoutError:
            raise JournalError(f"{self._journal.place} gave no answer within {within:.1f} s") from None


def _named(entry: Entry) -> str:
    return f"{entry.new.method} {path_of(entry)}"
