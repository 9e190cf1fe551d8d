"""The composition root: the only place where the rooms are wired together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.asgi import lifespan
from holdfast.asgi.answers import Answers
from holdfast.asgi.cors import Cors
from holdfast.asgi.deadlines import Deadlines
from holdfast.asgi.door import Door
from holdfast.asgi.door import Rules as DoorRules
from holdfast.asgi.front import Front, Stage
from holdfast.asgi.health import Health, Vital
from holdfast.asgi.keys import KeyRules, Keys
from holdfast.asgi.operations import place_of
from holdfast.asgi.replay import Replay
from holdfast.asgi.replay import Rules as ReplayRules
from holdfast.asgi.types import Receive, Scope, Send
from holdfast.context import REQUEST
from holdfast.databases.adopt import REGISTRY, MarkerRules, PoolRules
from holdfast.databases.database import Database
from holdfast.databases.looking import Watchfulness
from holdfast.databases.watch import Watch
from holdfast.desk import Desk
from holdfast.events import BUS, SettingIgnored
from holdfast.runtime.reach import Patience, reach
from holdfast.settings.failure import StartFailure
from holdfast.settings.reading import read_in_code
from holdfast.settings.settings import Settings
from holdfast.settings.shared import OTHERWISE
from holdfast.telemetry.events import EventLog
from holdfast.telemetry.gates import install as install_gates
from holdfast.telemetry.gates import uninstall as uninstall_gates
from holdfast.telemetry.incidents import Incidents
from holdfast.telemetry.loggers import write_to_standard_library
from holdfast.telemetry.metrics import Metrics
from holdfast.work.transactions_retry import DEFAULTS as TRANSACTIONS
from holdfast.work.transactions_retry import TransactionRules

SWEEP_EVERY_S = 10.0


class Holdfast:
    """Keeps the application it is given standing when its database does not.

    *settings* is holdfast's own `Settings`, by default read from the environment, `.env` files and
    pyproject.toml of the working directory, or the application's pydantic-settings class: then the
    environment has to satisfy it. Nothing is written to `os.environ`.
    Raises `Misconfigured`, which lists everything that is wrong at once.
    """

    def __init__(self, settings: Settings | type | None = None) -> None:
        if not isinstance(settings, Settings):
            settings = read_in_code(Path.cwd(), os.environ, settings, find_engines)
        self.settings = settings
        self.registry = REGISTRY
        self.metrics = Metrics()
        self.incidents = Incidents()
        self.vital = Vital(app_env=self.settings.app_env, port=self.settings.port)
        self.fronts: list[Front] = []
        self.sockets: set[asyncio.Task[Any]] = set()
        self.desk = Desk(self.settings, REGISTRY)
        self._in_lifespan = False
        self.started_by_hand = False  # somebody else runs the phases of startup
        self._dice = random.Random()
        self._undo: list[Callable[[], None]] = []
        find_engines(self.settings)
        TRANSACTIONS.rules = TransactionRules(
            attempts=self.settings.max_retry_attempts, base_delay=self.settings.retry_base_delay_s
        )

    # ---- the public surface ---------------------------------------------------------------------

    def wrap(self, app: Any) -> Front:
        """*app*, any ASGI application, with holdfast before it."""
        front = Front(
            app,
            build=self._stage,
            lifespan=self._lifespan,
            sockets=self.sockets,
            timeout=self.settings.request_timeout_s,
        )
        self.fronts.append(front)
        return front

    def install(self, app: Any) -> None:
        """Put holdfast before *app*, a Starlette or FastAPI application, outside all its middleware."""
        build = getattr(app, "build_middleware_stack", None)
        if build is None:
            message = f"{type(app).__name__} has no middleware stack; use app = Holdfast().wrap(app)"
            raise TypeError(message)
        if getattr(app, "middleware_stack", None) is not None:
            message = "the application has served already; install holdfast before its first request"
            raise RuntimeError(message)
        app.build_middleware_stack = lambda: self._inside(build(), app)

    def database(self, name: str, engine: Any) -> None:
        """Make *engine* known as *name*; an engine built after `Holdfast()` is found by itself."""
        from holdfast.databases.sqlalchemy import adopt

        adopt(engine, name)

    # ---- for the runtime ------------------------------------------------------------------------

    def start_watch(self) -> Watch:
        """Begin to watch the databases, those to come too."""
        watch = self.registry.watch
        if watch is None:
            watch = Watch(watchfulness(self.settings), waiting=self._waiting)
            self.registry.watched_by(watch, self.settings.max_wait_s)
        watch.start()
        return watch

    def listen(self) -> None:
        """Let metrics and incidents hear events, until `close`."""
        if not self._undo:
            self._undo += [BUS.subscribe(self.metrics.follow), BUS.subscribe(self.incidents.follow)]
            install_gates(self.incidents)
            self._undo.append(lambda: uninstall_gates(self.incidents))
            if not self.started_by_hand:  # the application's own logging is all there is
                self._undo.append(BUS.subscribe(EventLog(write_to_standard_library, self.incidents)))
            for one in self.settings.ignored:
                BUS.publish(
                    SettingIgnored(
                        variable=one.name, cause=one.wrong, otherwise=one.otherwise, source=one.source
                    )
                )
            self._gauges()

    def sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let counted log records report themselves now and then, as long as *loop* runs."""
        if self._undo:
            self.incidents.sweep()
            loop.call_later(SWEEP_EVERY_S, self.sweep, loop)

    async def put_away(self, front: Front, within: float) -> list[str]:
        """Stop running what is written down, and write down the answers of keys, in *within* seconds.

        What had to be given back to the journal, by method and path.
        """
        replay = front.stage().replay
        replay.door.cutting = True
        left = await self.desk.stop(within)
        await replay.keys.close()
        return left

    def close(self) -> None:
        """Let go of the process: no watch, no subscribers."""
        self.desk.close()
        watch = self.registry.watch
        if watch is not None:
            self.registry.watched_by(None)
            watch.stop()
        self.incidents.let_go()
        while self._undo:
            self._undo.pop()()
        for front in self.fronts:
            front.leave(for_good=self.started_by_hand)

    # ---- wiring ---------------------------------------------------------------------------------

    def _inside(self, stack: Any, app: Any) -> Front:
        front = self.wrap(stack)
        front.routed = app
        return front

    def _stage(self, front: Front, loop: asyncio.AbstractEventLoop) -> Stage:
        settings = self.settings
        watch = self.start_watch()
        self.listen()
        door = Door(
            DoorRules(
                max_wait=settings.max_wait_s,
                max_waiting=settings.max_waiting,
                fail_fast_after=settings.fail_fast_after_s,
            ),
            watch.report,
        )
        cors = Cors(front.app, settings.client_url)
        self.desk.open(front.routed)
        place = place_of(front.routed)
        answers = Answers(
            cors,
            style="simple" if settings.error_format == "simple" else "problem",
            production=settings.production,
        )
        replay = Replay(
            front.app,
            self.registry,
            door,
            answers,
            Deadlines(answers.late, self.registry.cancel),
            self.metrics,
            self.incidents,
            ReplayRules(
                attempts=settings.max_retry_attempts,
                base_delay=settings.retry_base_delay_s,
                body_bytes=settings.replay_body_bytes,
                journal_after=settings.journal_after_s,
            ),
            Keys(self.registry, key_rules(settings)),
            self.desk.journaling(cors),
            place,
        )
        door.open_for(self.registry, loop)
        door.leaves_with(self.registry.listen(lambda one: _hand_over(loop, door, one)))
        replay.absence.follow(loop)
        door.leaves_with(replay.absence.leave)
        health = Health(
            self.registry, door, self.vital, self.metrics.render, detailed=not settings.production
        )
        figures = self.desk.figures
        if figures is not None:
            health.journal = figures.check
            for one in figures.gauges():
                self.metrics.gauge(one.name, one.help, one.read, labels=one.labels)
        self.sweep(loop)
        if not (self.started_by_hand or self._in_lifespan):  # a server without a lifespan: it serves already
            self._is_ready()
            loop.call_soon(self.desk.start, front)
        return Stage(loop, door, answers, replay, health, self.desk.operations(cors), place)

    async def _lifespan(self, front: Front, scope: Scope, receive: Receive, send: Send) -> None:
        self._in_lifespan = True

        async def begin() -> None:
            if not self.started_by_hand:
                await self._reach_all()
            front.stage()

        def began() -> None:
            if not self.started_by_hand:
                self._is_ready()
                self.desk.start(front)

        async def drain() -> None:
            self.vital.draining = True
            front.stage().door.lock()
            await self.put_away(front, self.settings.shutdown_timeout_s / 4)

        async def end() -> None:
            if not self.started_by_hand:
                self.close()

        from holdfast.asgi.context import background

        REQUEST.set(background("lifespan"))
        await lifespan.run(front.app, lifespan.Steps(begin, began, drain, end), scope, receive, send)

    def _is_ready(self) -> None:
        self.vital.started, self.vital.phase = True, "ready"

    async def _reach_all(self) -> None:
        """Log in to every database before the application starts, as far as the settings ask."""
        self.vital.phase = "databases"
        watch = self.start_watch()
        if not starts_without_database(self.settings):
            try:
                await reach(self.registry, watch, patience(self.settings), self._dice)
            except StartFailure as failure:  # it says all, and some servers print every cause with its stack
                raise failure.with_traceback(None) from None
        self.vital.phase = "application"

    def _waiting(self, name: str) -> int:
        return sum(front.waiting_for(name) for front in self.fronts)

    def _gauges(self) -> None:
        self.metrics.gauge(
            "holdfast_requests_waiting",
            "Requests that wait at the door",
            lambda: {(one.name,): float(self._waiting(one.name)) for one in self.registry},
            labels=("database",),
        )
        self.metrics.pools(lambda: {one.name: one.pool() for one in self.registry})


def _hand_over(loop: asyncio.AbstractEventLoop, door: Door, database: Database) -> None:
    """A database was found, in whatever thread: the door has to listen to it on its loop."""
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(door.open_for, [database], loop)


def find_engines(settings: Settings) -> None:
    """From now on every engine that is built is found, and follows *settings*. Idempotent.

    It has to be said before anything of the application is imported: an engine is built once.
    """
    REGISTRY.rules = pool_rules(settings)
    REGISTRY.markers = marker_rules(settings)
    try:
        from holdfast.databases.sqlalchemy import activate
    except ImportError:
        return
    activate()


def stand_ins(settings: Settings) -> list[Database]:
    """The database of DATABASE_URL, known before the application has built its engine; none where we
    cannot reach it by ourselves, and then the application's own engine tells."""
    try:
        from holdfast.databases.sqlalchemy import stand_in
    except ImportError:
        return []
    try:
        name = stand_in(settings.database_url) if settings.database_url else None
    except ValueError as error:
        otherwise = OTHERWISE["DATABASE_URL"]
        BUS.publish(SettingIgnored(variable="DATABASE_URL", cause=str(error), otherwise=otherwise, source=""))
        return []
    found = REGISTRY.get(name) if name else None
    return [found] if found else []


def pool_rules(settings: Settings) -> PoolRules:
    """What applies to pools whose application chose nothing."""
    return PoolRules(
        active=True,
        size=settings.db_pool_max,
        keep=settings.db_pool_min,
        connect_timeout=settings.db_connect_timeout_s,
        statement_timeout=settings.db_statement_timeout_s,
        ssl=settings.db_ssl,
        hide_parameters=settings.production,
    )


def marker_rules(settings: Settings) -> MarkerRules:
    """Whether and where the transactions of keyed work are marked."""
    return MarkerRules(
        active=settings.idempotency,
        schema=settings.idempotency_schema,
        commit_status=settings.commit_status,
    )


def key_rules(settings: Settings) -> KeyRules:
    """What requests with a key are held to."""
    return KeyRules(
        active=settings.idempotency,
        required=settings.require_key,
        body_bytes=settings.replay_body_bytes,
        answer_bytes=settings.idempotency_body_bytes,
    )


def watchfulness(settings: Settings) -> Watchfulness:
    """How closely the databases are watched."""
    return Watchfulness(
        suspect_after=settings.suspect_after_s,
        heartbeat=settings.db_heartbeat_s,
        connect_timeout=settings.db_connect_timeout_s,
        keep=settings.db_pool_min,
        max_wait=settings.max_wait_s,
        fail_fast_after=settings.fail_fast_after_s,
    )


def patience(settings: Settings) -> Patience:
    """How long startup tries to reach a database."""
    return Patience(attempts=settings.connect_attempts, timeout=settings.db_connect_timeout_s)


def starts_without_database(settings: Settings) -> bool:
    """Whether startup goes on while the database is away: as set, else only in development."""
    chosen = settings.start_without_database
    return settings.app_env == "development" if chosen is None else chosen


def databases_of(hold: Holdfast) -> list[Database]:
    """Every database the process knows."""
    return list(hold.registry)
