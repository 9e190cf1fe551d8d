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
from typing import Any

from holdfast.clock import SYSTEM_CLOCK, Clock, within
from holdfast.databases.database import Database, Session
from holdfast.databases.deaf import Deaf
from holdfast.databases.looking import Watchfulness, cut, cut_idle, holds_on, hung_up, quiet, reap, stuck
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
    Report,
    State,
    Suspect,
    WriteRefused,
    probe_delay,
    step,
)
from holdfast.databases.post import Knocks, Post, Race
from holdfast.databases.writes import Writes
from holdfast.events import (
    BUS,
    Bus,
    DatabaseLost,
    DatabaseRecovered,
    DatabaseSuspected,
    ReconnectAttempted,
)
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.faults.verdicts import shuts_out

SWEEP_EVERY = 0.1
_LOGINS = 3  # of ours to one database, under way at once


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
        self._deaf = Deaf(self.rules, self.clock, self.bus, self._open)
        self._writes = Writes(self.rules, self.clock, self.bus, self._open)
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
            self._happen(database, Failed(sent_in, said(error)))

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

    def report(self, database: Database, happening: Report) -> None:
        """Something happened to *database*. From any thread."""
        if isinstance(happening, WriteRefused):
            if not self._call(self._outlast, database):
                database.writes_again(self.clock.monotonic())
        elif not self._call(self._happen, database, happening):
            database.doubted = False  # nobody is there to judge it

    def _outlast(self, database: Database) -> None:
        post = self._posts[database]
        post.outlasting(lambda: self._writes.until_taken(post))

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
        if database.settled and post.beating is None and database.driver.networked:
            self._question(post, now)

    def _question(self, post: Post, now: float) -> None:
        """Whether our own session has something to ask: a sign of life, or whom the server works for."""
        if now - post.database.known_at() > self.rules.heartbeat:
            post.asking(self.beat(post.database))
        elif (question := self._deaf.question(post, now)) is not None:
            post.asking(question)

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
                self.bus.publish(
                    DatabaseLost(database=name, target=target, cause=cause, pool=database.pool())
                )
            case Recovering(since=since, lost_at=lost_at, attempts=attempts):
                back = DatabaseRecovered(
                    database=name,
                    target=target,
                    outage_s=round(since - lost_at, 3),
                    attempts=attempts,
                    waiting=self.waiting(name),
                )
                self.bus.publish(back)

    # ---- asking ---------------------------------------------------------------------------------

    async def _ask_once(self, database: Database, sent_in: int, *, log_in: bool) -> None:
        """One knock, and one login when a connection was lost: is it there?"""
        began = self.clock.monotonic()
        try:
            if database.driver.can_knock:
                await within(self.rules.silence, database.driver.knock())
            if log_in or not database.driver.can_knock:
                await self._log_in(self._posts[database])
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means: no answer
            if database.heard_at > began and not log_in:
                self._happen(database, Heard())
            else:
                self._happen(database, Failed(sent_in, said(error), isinstance(error, TimeoutError)))
        else:
            self._happen(database, Answered(sent_in))

    async def _log_in(self, post: Post) -> None:
        """A new session in place of ours. A server that turns a newcomer away, being full or not knowing
        its password any more, is there for those it has let in before: what lives is left alone."""
        try:
            await self._let_in(post)
        except Exception as error:
            if not shuts_out(classify(error, database=True)) or not await self._lives(post):
                raise

    async def _lives(self, post: Post) -> bool:
        """Whether anybody that the server has let in before is still there: our session, or a connection."""
        if post.session is not None:
            try:
                await within(self.rules.silence, post.session.ping())
            except Exception:  # noqa: BLE001 - this session is of the past; another may live
                await post.keep(None)
            else:
                return True
        return holds_on(post.database)

    async def _let_in(self, post: Post) -> None:
        """Log in afresh. That may take the whole connect timeout, for servers can be slow; or a moment's
        silence has taken it, so after a while others are begun beside."""
        apart = max(self.rules.silence, 1.5 * post.login_s)
        with Race[bool]() as race:
            for number in range(_LOGINS):
                race.enter(self._enter(post))
                if await race.first(None if number == _LOGINS - 1 else apart):
                    return

    async def _enter(self, post: Post) -> bool:
        await post.keep(await self._open(post.database, self.rules.connect_timeout))
        return True

    async def _open(self, database: Database, timeout: float) -> Session:
        began = self.clock.monotonic()
        session = await within(timeout, database.driver.open(), lambda unwanted: unwanted.close())
        try:
            await within(max(0.1, timeout - (self.clock.monotonic() - began)), session.ping())
        except BaseException:
            await session.close()
            raise
        database.vouched_at = self.clock.monotonic()
        self._deaf.let_in(self._posts[database], began)
        return session

    async def _ping(self, post: Post) -> None:
        database = post.database
        if post.session is not None:
            began = self.clock.monotonic()
            try:
                await within(self.rules.silence, post.session.ping())
            except TimeoutError:
                await post.keep(None)
                raise
            except Exception:  # noqa: BLE001 - this session is of the past; a fresh one decides
                await post.keep(None)
            else:
                database.vouched_at = self.clock.monotonic()
                database.latency_s = database.vouched_at - began
                return
        await self._let_in(post)

    async def _reconnect(self, post: Post, sent_in: int) -> None:
        """The one prober: knocks until a byte comes back, then logs in, until it is let in.

        Knocks into silence overlap, the oldest making room, so that the first breath after it is heard soon.
        """
        database = post.database
        number = 0
        with Knocks(database.driver.knock) as knocks:
            while isinstance(database.state, Disconnected) and database.state.round == sent_in:
                number += 1
                silent, refused = self._delays(database, number)
                try:
                    if database.driver.can_knock and not await knocks.heard(silent):
                        self._missed(database, number, Failed(sent_in, "no answer", silent=True), silent)
                        continue
                    knocked = database.state.silent and database.driver.can_knock
                    if not knocked:  # one that refused may still be starting up
                        await self._let_in(post)
                except Exception as error:  # noqa: BLE001 - whatever a driver raises means: not yet
                    self._missed(database, number, Failed(sent_in, said(error)), refused)
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
