"""The watch: one thread with a loop of its own that keeps each database's state true.

It has a thread to itself so that a blocked server loop can neither blind it nor keep it from
cutting the very connections that block. Whoever reports to it or asks it does so by
`call_soon_threadsafe`; it tells back through `Database.become`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.databases.database import Database, Session
from holdfast.databases.link import Link
from holdfast.databases.monitor import (
    Answered,
    Broken,
    Disconnected,
    Effect,
    Failed,
    Happening,
    Heard,
    Quiet,
    Recovering,
    State,
    Suspect,
    probe_delay,
    step,
)
from holdfast.events import (
    BUS,
    Bus,
    DatabaseLost,
    DatabaseRecovered,
    DatabaseSuspected,
    ReconnectAttempted,
)
from holdfast.faults.redact import redact_text

SWEEP_EVERY = 0.1
AFTER_SILENCE = 0.3  # for what was sent before an outage to be answered after it
AT_ONCE = 8  # probes of one silent database that may be under way together


@dataclass(frozen=True, slots=True)
class Watchfulness:
    """How closely to look, in seconds."""

    suspect_after: float = 1.0  # a query outstanding so long, and nothing completed since
    silence: float = 1.0  # a knock met no byte for so long
    heartbeat: float = 30.0
    connect_timeout: float = 10.0
    keep: int = 2  # connections that stay however long they lie idle
    max_wait: float = 10.0  # what nobody may run again is left alone for so long
    fail_fast_after: float = 60.0


class Watch:
    """Watches databases. `start` and `stop` may be called from any thread."""

    def __init__(
        self,
        rules: Watchfulness | None = None,
        *,
        bus: Bus = BUS,
        clock: Clock = SYSTEM_CLOCK,
        dice: random.Random | None = None,
        waiting: Callable[[str], int] = lambda _name: 0,
    ) -> None:
        self.rules = rules or Watchfulness()
        self.bus = bus
        self.clock = clock
        self.waiting = waiting
        self._dice = dice or random.Random()
        self._posts: dict[Database, Post] = {}  # a database may be renamed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    # ---- from any thread ------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; a second call, or one in the same process, changes nothing."""
        if self._thread is not None and self._pid == os.getpid():
            return
        ready = threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="holdfast-watch", daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self, timeout: float = 2.0) -> None:
        """End: close the sessions of our own, let the thread go within *timeout* seconds."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or self._pid != os.getpid():
            return
        for post in list(self._posts.values()):
            post.database.watched_by(None)
        self._call(self._end)
        thread.join(timeout)
        self._thread = None

    def add(self, database: Database) -> None:
        """Watch *database* too."""
        if database not in self._posts:
            self._posts[database] = Post(database)
        database.watched_by(self.report)

    def ask(self, question: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Run *question* on the watch's loop."""
        if self._loop is None:
            question.close()
            msg = "the watch has not been started"
            raise RuntimeError(msg)
        return asyncio.run_coroutine_threadsafe(question, self._loop)

    async def connect(self, database: Database, timeout: float) -> None:
        """Log in once, within *timeout* seconds; raises what the driver raises. On the watch's loop."""
        post = self._posts[database]
        await post.keep(await self._open(database, timeout))

    async def beat(self, database: Database) -> None:
        """Ask for a sign of life now, on a connection of our own. On the watch's loop."""
        post = self._posts[database]
        if isinstance(database.state, Disconnected):
            return
        sent_in = database.state.round
        try:
            await self._ping(post)
        except TimeoutError:
            self._happen(database, Quiet())
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means: no answer
            self._happen(database, Failed(sent_in, _said(error)))

    # ---- the loop -------------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.set_exception_handler(lambda *_: None)  # drivers' orphaned futures are no news
            self._loop.call_soon(ready.set)
            with contextlib.suppress(asyncio.CancelledError):
                runner.run(self._sweep())
        self._loop = None

    async def _sweep(self) -> None:
        self._main = asyncio.current_task()
        try:
            while True:
                now = self.clock.monotonic()
                for post in list(self._posts.values()):
                    self._look(post, now)
                await asyncio.sleep(SWEEP_EVERY)
        finally:
            for post in self._posts.values():
                await post.leave()

    def _end(self) -> None:
        if self._main is not None:
            self._main.cancel()

    def _call(self, function: Callable[..., None], *args: object) -> bool:
        loop = self._loop
        if loop is None:
            return False
        try:
            # an empty context: what the watch does belongs to no request
            loop.call_soon_threadsafe(function, *args, context=Context())
        except RuntimeError:  # it closed between the look and the call
            return False
        return True

    def report(self, database: Database, happening: Happening) -> None:
        """Something happened to *database*. From any thread."""
        if not self._call(self._happen, database, happening):
            database.doubted = False  # nobody is there to judge it

    _main: asyncio.Task[None] | None = None

    # ---- looking --------------------------------------------------------------------------------

    def _look(self, post: Post, now: float) -> None:
        database = post.database
        rules = self.rules
        state = database.state
        if isinstance(state, Suspect) and database.heard_at > state.since:
            self._happen(database, Heard())
        elif isinstance(state, Suspect | Disconnected) and not post.asks(state):
            self._do(database, Effect.PROBE)  # taken over from a watch that has ended
        elif not isinstance(state, Suspect | Disconnected) and quiet(database, now, rules.suspect_after):
            self._happen(database, Quiet())
        for link in list(database.links.values()):
            if link.began and not link.cut and stuck(database, link, now, rules):
                if link.request is not None:
                    link.request.held_for += now - link.began  # it has waited all the while
                link.abort()
        reap(database, now, rules.keep)
        if database.settled and hung_up(database):
            self._happen(database, Broken("the server closed an idle connection"))
        due = now - database.known_at() > rules.heartbeat
        if due and database.settled and post.beating is None and database.driver.networked:
            post.beating = asyncio.ensure_future(self.beat(database))
            post.beating.add_done_callback(lambda _: setattr(post, "beating", None))

    def _happen(self, database: Database, happening: Happening) -> None:
        now = self.clock.monotonic()
        before = database.state
        after, effects = step(before, happening, now)
        if isinstance(happening, Broken):
            database.doubted = False
        if isinstance(happening, Answered | Heard):
            database.vouched_at = now
        if isinstance(happening, Failed):
            database.last_error = happening.cause
        if Effect.REFRESH in effects:
            database.generation += 1
            database.recovered_at = now
        if after is not before:
            database.become(after)
            if type(after) is not type(before):
                self._tell(database, after)
        for effect in effects:
            self._do(database, effect)

    def _do(self, database: Database, effect: Effect) -> None:
        post = self._posts[database]
        match effect:
            case Effect.KNOCK:
                post.probing(self._ask_once(database, database.state.round, log_in=False))
            case Effect.PROBE if isinstance(database.state, Disconnected):
                post.reconnecting(lambda: self._reconnect(post, database.state.round))
            case Effect.PROBE:
                post.probing(self._ask_once(database, database.state.round, log_in=True))
            case Effect.CUT:
                cut(database)
            case Effect.REFRESH:
                cut_idle(database)
            case Effect.SETTLE:
                pass  # whoever waited was woken by `become`

    def _tell(self, database: Database, after: State) -> None:
        name, target = database.name, database.target
        match after:
            case Suspect(cause=cause, broken=True):
                self.bus.publish(DatabaseSuspected(database=name, cause=cause))
            case Disconnected(cause=cause):
                lost = DatabaseLost(database=name, target=target, cause=cause, pool=database.pool())
                self.bus.publish(lost)
            case Recovering(since=since, lost_at=lost_at, attempts=attempts):
                back = DatabaseRecovered(
                    database=name,
                    target=target,
                    outage_s=round(since - lost_at, 3),
                    attempts=attempts,
                    waiting=self.waiting(name),
                )
                self.bus.publish(back)
            case _:
                pass

    # ---- asking ---------------------------------------------------------------------------------

    async def _ask_once(self, database: Database, sent_in: int, *, log_in: bool) -> None:
        """One knock, and one login when a connection was lost: is it there?"""
        began = self.clock.monotonic()
        try:
            await asyncio.wait_for(database.driver.knock(), self.rules.silence)
            if log_in:
                post = self._posts[database]
                await post.keep(await self._open(database, self.rules.connect_timeout))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means: no answer
            if database.heard_at > began and not log_in:
                self._happen(database, Heard())
            else:
                silent = isinstance(error, TimeoutError)
                self._happen(database, Failed(sent_in, _said(error), silent))
        else:
            self._happen(database, Answered(sent_in))

    async def _open(self, database: Database, timeout: float) -> Session:
        began = self.clock.monotonic()
        session = await asyncio.wait_for(database.driver.open(), timeout)
        await asyncio.wait_for(session.ping(), max(0.1, timeout - (self.clock.monotonic() - began)))
        database.vouched_at = self.clock.monotonic()
        return session

    async def _ping(self, post: Post) -> None:
        database = post.database
        if post.session is not None:
            began = self.clock.monotonic()
            try:
                await asyncio.wait_for(post.session.ping(), self.rules.silence)
            except TimeoutError:
                await post.keep(None)
                raise
            except Exception:  # noqa: BLE001 - this session is of the past; a fresh one decides
                await post.keep(None)
            else:
                database.vouched_at = self.clock.monotonic()
                database.latency_s = database.vouched_at - began
                return
        await post.keep(await self._open(database, self.rules.connect_timeout))

    async def _reconnect(self, post: Post, sent_in: int) -> None:
        """The one prober: knocks until a byte comes back, then logs in, until it is let in.

        Knocks into silence overlap, the oldest making room, so that the first breath after it is
        heard soon; a login gets the whole connect timeout, for a slow server takes its time.
        """
        database = post.database
        number = 0
        with _Knocks(database.driver.knock) as knocks:
            while isinstance(database.state, Disconnected) and database.state.round == sent_in:
                number += 1
                silent, refused = self._delays(database, number)
                try:
                    if not await knocks.heard(silent):
                        self._missed(database, number, Failed(sent_in, "no answer", silent=True), silent)
                        continue
                    if not database.state.silent:  # one that refused may still be starting up
                        await post.keep(await self._open(database, self.rules.connect_timeout))
                except Exception as error:  # noqa: BLE001 - whatever a driver raises means: not yet
                    self._missed(database, number, Failed(sent_in, _said(error)), refused)
                    await asyncio.sleep(refused)
                else:
                    self._happen(database, Answered(sent_in))
                    return

    def _delays(self, database: Database, number: int) -> tuple[float, float]:
        """Seconds to the next probe, if this one meets silence, and if it is refused."""
        now = self.clock.monotonic()
        away_for = now - (database.away_since or now)
        patience = self.rules.fail_fast_after
        silent = probe_delay(number, away_for, patience, silent=True, dice=self._dice.random())
        refused = probe_delay(number, away_for, patience, silent=False, dice=self._dice.random())
        return silent, refused

    def _missed(self, database: Database, number: int, missed: Failed, next_s: float) -> None:
        self._happen(database, missed)
        self.bus.publish(
            ReconnectAttempted(
                database=database.name,
                target=database.target,
                attempt=number,
                cause=missed.cause,
                next_s=round(next_s, 3),
            )
        )


class _Knocks:
    """Knocks at one silent door, several under way at once."""

    def __init__(self, knock: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._knock = knock
        self._open: list[asyncio.Task[None]] = []

    def __enter__(self) -> _Knocks:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._open:
            task.cancel()

    async def heard(self, patience: float) -> bool:
        """Knock once more; whether any knock is answered within *patience* seconds.

        Raises what the first one that was refused raises; then the others are given up as well.
        """
        if len(self._open) >= AT_ONCE:
            self._open.pop(0).cancel()
        self._open.append(asyncio.ensure_future(self._knock()))
        done, _ = await asyncio.wait(self._open, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return False
        for task in self._open:
            task.cancel()
        knocked, self._open = self._open, []
        await asyncio.gather(*knocked, return_exceptions=True)
        errors = [task.exception() for task in done if not task.cancelled()]
        if None not in errors:
            raise next((one for one in errors if one is not None), ConnectionAbortedError("knock given up"))
        return True


class Post:
    """What the watch keeps for one database: its own session, and the tasks that ask."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.session: Session | None = None
        self.beating: asyncio.Future[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._reconnect: asyncio.Task[None] | None = None

    async def keep(self, session: Session | None) -> None:
        """From now on *session* is ours; the one before is closed."""
        before, self.session = self.session, session
        if before is not None:
            await before.close()

    def asks(self, state: State) -> bool:
        """Whether somebody is out to learn how *state*, a doubt, will end."""
        task = self._reconnect if isinstance(state, Disconnected) else self._asking
        return task is not None and not task.done()

    def probing(self, question: Coroutine[Any, Any, None]) -> None:
        """A new question takes the place of one that is still open."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = asyncio.ensure_future(question)

    def reconnecting(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the prober unless it runs."""
        if self._reconnect is None or self._reconnect.done():
            self._reconnect = asyncio.ensure_future(begin())

    async def leave(self) -> None:
        """End everything that is ours."""
        tasks = [one for one in (self._asking, self._reconnect, self.beating) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.keep(None)


def quiet(database: Database, now: float, suspect_after: float) -> bool:
    """Whether something is outstanding for too long and nothing has been heard since it was sent."""
    if now - database.known_at() < suspect_after:
        return False
    began = [link.began for link in list(database.links.values()) if link.began]
    began += [since for since, _ in list(database.connecting.values())]
    return any(now - since > suspect_after for since in began)


def stuck(database: Database, link: Link, now: float, rules: Watchfulness) -> bool:
    """Whether what was sent on *link* can only be waiting on a connection that will never speak.

    A ping that the living server left unanswered; a statement of before an outage that is still
    unanswered a while after it (a short one if it can be run again); one that waited through an
    outage as long as anyone may.
    """
    began = link.began
    if database.away:
        return now - began > rules.max_wait + AFTER_SILENCE
    if link.pinging and now - began > rules.silence:
        return database.known_at() > began
    recovered = database.recovered_at
    grace = AFTER_SILENCE if link.may_be_cut() else rules.silence
    return began < recovered and now - recovered > grace


def hung_up(database: Database) -> bool:
    """Whether the other side has closed a connection that lies idle; it is taken out of use.

    One look a sweep, at the one unused for the longest: so a server that went while nobody asked
    it anything is missed within moments, and not by its next user.
    """
    idle = [
        link for link in list(database.links.values()) if not link.out and not link.began and not link.cut
    ]
    if not idle:
        return False
    eldest = min(idle, key=lambda link: link.used_at)
    if not eldest.is_gone():
        return False
    eldest.abort()
    return True


def reap(database: Database, now: float, keep: int) -> None:
    """End the connections of a pool that have lain idle too long, but for the last *keep* used.

    The pool finds them closed when it would hand them out, and opens new ones.
    """
    idle = [
        link for link in list(database.links.values()) if link.idle_limit and not link.out and not link.cut
    ]
    if len(idle) <= keep:
        return
    idle.sort(key=lambda link: link.used_at)
    for link in idle[: len(idle) - keep]:
        if now - link.used_at > link.idle_limit and not link.began:
            link.abort()


def cut(database: Database) -> None:
    """End what lies idle and what blocks a thread, if it can be run again.

    A task that waits costs nothing, and what cannot be run again has no other hope: should the
    bytes only be delayed, both are answered the moment they come.
    """
    for link in list(database.links.values()):
        if link.may_be_cut() and (link.blocks or not link.began):
            link.abort()
    for _, cancel in list(database.connecting.values()):
        cancel()


def cut_idle(database: Database) -> None:
    """End the connections that lie unused in a pool: they are of before the outage."""
    for link in list(database.links.values()):
        if not link.out and not link.began:
            link.abort()


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, TimeoutError) and not text:
        return "no answer in time"
    return redact_text(f"{type(error).__name__}: {text}" if text else type(error).__name__)
