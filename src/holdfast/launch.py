"""`holdfast run`, from the environment to the exit status: the phases, the serving, the stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.app import Holdfast, find_engines, patience, stand_ins, starts_without_database
from holdfast.asgi.front import Front
from holdfast.databases.database import Database
from holdfast.events import BUS, Event
from holdfast.faults.said import said
from holdfast.floor import Floor
from holdfast.runtime import folders
from holdfast.runtime.collector import spare_the_collector
from holdfast.runtime.departure import REST_S, Departure, left_behind
from holdfast.runtime.importing import ImportEnded, Importing
from holdfast.runtime.lifespan import Lifespan, LifespanFailed
from holdfast.runtime.located import locate
from holdfast.runtime.mishap import Mishap, explain_startup, loop_closed
from holdfast.runtime.notify import notify_ready, notify_stopping
from holdfast.runtime.phases import Phases
from holdfast.runtime.port import bind, check_port, url_of
from holdfast.runtime.probe import ProbeListener
from holdfast.runtime.reach import reach, settled, start_without
from holdfast.runtime.server import Server, Speech, imports_within_loop, loop_factory
from holdfast.runtime.signals import Signals
from holdfast.runtime.stop import Stop
from holdfast.runtime.traces import say
from holdfast.settings.failure import Exit, StartFailure
from holdfast.settings.reading import Wanted, read_environment
from holdfast.settings.settings import Settings
from holdfast.telemetry import logs
from holdfast.telemetry.events import EventLog
from holdfast.telemetry.gates import line_gate
from holdfast.telemetry.uncaught import Uncaught
from holdfast.work.journal import JournalUnusableError

_FOLDER = "folder with HOLDFAST_STATE_DIR"
_SERVER = "server with HOLDFAST_JOURNAL_URL"
_WAITING = 2048  # connections that the system may keep until we accept them, as uvicorn has it


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    target: str
    wanted: Wanted
    factory: bool = False
    app_dir: Path = field(default_factory=Path)
    debug: bool = False
    speech: Speech = field(default_factory=Speech)


def run(options: Options) -> int:
    """Start, serve, stop; the exit status. A start that fails says why on standard error."""
    early: list[Event] = []  # before anybody can tell them
    unsubscribe = BUS.subscribe(early.append)
    try:
        environment, settings = read_environment(options.wanted, os.environ, find_engines)
    except StartFailure as failed:
        left_behind(failed.exit_status)
        return say(failed, options.debug)
    finally:
        unsubscribe()
    told = logs.configure(_format(settings), settings.log_level)
    try:
        told.write("info", environment.announcement)
        return _run(options, settings, told, early)
    except StartFailure as failed:
        told.flush()
        left_behind(failed.exit_status)
        return say(failed, options.debug)
    finally:
        told.close()


def _run(options: Options, settings: Settings, told: logs.Logs, early: Sequence[Event] = ()) -> int:
    hold = Holdfast(settings)
    hold.started_by_hand = True
    unsubscribe = BUS.subscribe(EventLog(told.write, hold.incidents))

    def hush() -> None:
        unsubscribe()
        hold.incidents.report = None

    told.gate = line_gate(hold.incidents)
    hold.metrics.counter(
        "holdfast_log_lines_dropped", "Log lines dropped, the queue was full", lambda: told.dropped
    )
    hold.listen()
    for event in early:
        BUS.publish(event)
    runner = asyncio.Runner(loop_factory=loop_factory())
    try:
        return _Launch(options, settings, hold, told, hush).run(runner)
    finally:
        if not runner.get_loop().is_closed():
            runner.close()
        unsubscribe()
        hold.close()


class _Launch:
    """One start, on the server's loop."""

    def __init__(
        self,
        options: Options,
        settings: Settings,
        hold: Holdfast,
        told: logs.Logs,
        hush: Callable[[], None],
    ) -> None:
        self._options = options
        self._hush = hush  # events are told no more
        self._settings = settings
        self._hold = hold
        self._told = told
        self._stopping = asyncio.Event()
        self._crashed = False
        self._absent = False  # a database is, and we start all the same
        self._socket: socket.socket | None = None
        self._front: Front | None = None
        self._lifespan: Lifespan | None = None
        self._server: Server | None = None
        self._departure = Departure(told, settings, self._in_flight)
        self._importing = Importing(
            hold.registry,
            patience(settings),
            random.Random(),
            self._needed if starts_without_database(settings) else None,
        )
        vital = hold.vital
        self._phases = Phases(
            lambda name: setattr(vital, "phase", name),
            lambda name, took: vital.phases.append((name, took)),
        )

    def run(self, runner: asyncio.Runner) -> int:
        """All phases, then serve until told to stop; the exit status."""
        loop = runner.get_loop()
        self._own_signals(loop)
        uncaught = Uncaught(self._crash)
        uncaught.install()
        uncaught.watch(loop)
        probe = ProbeListener.opened(self._settings.probe_port, self._hold.vital)
        try:
            runner.run(self._unless_stopped(self._prepare()))
            self._import(runner)
            runner.run(self._unless_stopped(self._start()))
            status = runner.run(self._until_stopped())
        except StartFailure as failed:
            return self._failed(failed, runner)
        except BaseException:
            runner.run(self._abandon())
            raise
        finally:
            probe.close()
            uncaught.uninstall()
        return 1 if self._crashed else status

    async def _unless_stopped(self, step: Coroutine[Any, Any, None]) -> None:
        """Take *step*, to its end or to the moment we are told to stop."""
        if self._stopping.is_set():
            step.close()
            return
        stop = asyncio.ensure_future(self._stopping.wait())
        going = asyncio.ensure_future(step)
        await asyncio.wait([going, stop], return_when=asyncio.FIRST_COMPLETED)
        if going.done():
            stop.cancel()
            going.result()
        else:
            going.cancel()
            await asyncio.wait([going], timeout=1.0)

    async def _until_stopped(self) -> int:
        await self._stopping.wait()
        return await self._stop()

    def _failed(self, failed: StartFailure, runner: asyncio.Runner) -> int:
        # Now: what comes after it may wait for threads and tasks of the application. What happens to
        # databases meanwhile is no news: the message is the last word.
        self._hush()
        self._told.flush()
        self._departure.failed(failed.exit_status)
        status = say(failed, self._options.debug)
        if not runner.get_loop().is_closed():
            runner.run(self._abandon())
        return status

    # ---- starting -------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        settings = self._settings
        phase = self._phases.phase
        with phase("filesystem") as detail:
            detail += folders.prepare({"LOG_DIR": settings.log_dir, "UPLOAD_DIR": settings.upload_dir})
            folders.look("HOLDFAST_STATE_DIR", settings.state_dir)
        with phase("environment") as detail:
            detail.append(settings.app_env)
        with phase("port") as detail:
            check_port(settings.host, settings.port)
            detail.append(f"{settings.host}:{settings.port}")
        with phase("databases") as detail:
            self._absent = await self._reach(stand_ins(self._settings))
            detail += [one.target for one in self._hold.registry]

    def _import(self, runner: asyncio.Runner) -> None:
        """Import the application as the installed uvicorn would: before the loop runs, or within it."""
        if self._stopping.is_set():
            return
        # What the application begins on "the" loop while it is imported is to run on the one that serves.
        asyncio.set_event_loop(runner.get_loop())
        with contextlib.suppress(ImportEnded), self._phases.phase("application") as detail:
            with self._importing.under_way():
                app = runner.run(self._locate()) if imports_within_loop() else self._located()
            if runner.get_loop().is_closed():
                raise loop_closed(self._options.target)
            self._front = self._hold.wrap(app)
            detail.append(self._options.target)
            self._open_journal(app)

    def _located(self) -> Any:
        options = self._options
        return locate(options.target, app_dir=options.app_dir, factory=options.factory)

    async def _locate(self) -> Any:
        return self._located()

    def _needed(self, database: Database, error: Exception) -> None:
        """The application uses *database* while it is imported, and it is absent: whoever asks for the
        application now waits in the system's queue of connections."""
        self._told.write(
            "warning",
            f"the application uses the database {database.target} while it is imported, and it is not"
            " there; waiting for it, and so will requests",
            {"phase": "application", "cause": said(error)},
        )
        with contextlib.suppress(StartFailure):  # told when we listen
            if self._socket is None:
                self._socket = bind(self._settings.host, self._settings.port)
                self._socket.listen(_WAITING)

    async def _start(self) -> None:
        settings, hold = self._settings, self._hold
        assert self._front is not None
        phase = self._phases.phase
        unseen = [one for one in hold.registry if one.driver.networked and not one.vouched_at]
        if unseen and not self._absent:
            with phase("databases of the application") as detail:
                self._absent = await self._reach(unseen)
                detail += [one.target for one in unseen]
        self._lifespan = Lifespan(self._front)
        if self._absent:
            await self._listen_first()
        else:
            await self._start_lifespan()
            with phase("routes and error handlers"):
                self._front.stage()
            await self._listen()
        hold.vital.started, hold.vital.phase = True, "ready"
        hold.desk.start(self._front)
        spare_the_collector()
        for warning in notify_ready(os.environ):
            self._told.write("warning", warning)
        self._told.write("info", f"ready: {url_of(settings.host, settings.port)}")

    def _open_journal(self, app: Any) -> None:
        try:
            place = self._hold.desk.open(app)
        except JournalUnusableError as error:
            elsewhere = _SERVER if self._settings.journal_url else _FOLDER
            action = f"Mend what it says, or name another {elsewhere}."
            raise StartFailure("journal", str(error), action, Exit.CANNOT_CREATE) from error
        if place:
            self._told.write("info", f"journal: {place}")

    async def _reach(self, databases: list[Database]) -> bool:
        """Log in to *databases*; True when one is absent and we may start all the same."""
        hold = self._hold
        watch = hold.start_watch()
        if not starts_without_database(self._settings):
            await reach(databases, watch, patience(self._settings), random.Random())
            return False
        return await start_without(databases, watch, self._settings.db_connect_timeout_s, self._told.write)

    async def _listen_first(self) -> None:
        """The database is absent and we may start: listen, hold every request, start the rest later."""
        assert self._front is not None
        self._front.opened = asyncio.Event()
        self._front.opens_within = self._settings.max_wait_s
        self._front.stage()
        await self._listen()
        await settled(self._hold.registry)
        await self._start_lifespan()
        self._front.opened.set()
        self._front.opened = None

    async def _start_lifespan(self) -> None:
        assert self._lifespan is not None
        assert self._front is not None
        with self._phases.phase("startup"):
            try:
                await self._lifespan.start()
            except LifespanFailed as failed:
                absent = any(one.away for one in self._hold.registry)
                status = Exit.UNAVAILABLE if absent else Exit.SOFTWARE
                options = self._options
                mishap = Mishap(options.app_dir.resolve(), "its startup", False, options.target)
                error = failed.__cause__
                raise explain_startup(error, str(failed), mishap, status) from error or failed
        self._front.state = self._lifespan.state

    async def _listen(self) -> None:
        assert self._front is not None
        settings = self._settings
        with self._phases.phase("listen") as detail:
            self._socket = self._socket or bind(settings.host, settings.port)
            self._server = Server(self._front, self._options.speech)
            await self._server.listen(self._socket)
            detail.append(f"{settings.host}:{settings.port}")

    # ---- stopping -------------------------------------------------------------------------------

    def _own_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def first(number: signal.Signals) -> None:
            self._departure.asked(number)
            with contextlib.suppress(RuntimeError):  # the loop has ended: so has what was to stop
                loop.call_soon_threadsafe(self._stopping.set)
            self._importing.end()

        Signals(first, self._departure.at_once).install()

    def _in_flight(self) -> list[str]:
        return Floor(self._hold, self._front).named() if self._front is not None else []

    def _crash(self) -> None:
        self._crashed = True
        self._stopping.set()

    async def _stop(self) -> int:
        for warning in notify_stopping(os.environ):
            self._told.write("warning", warning)
        if self._server is None or self._front is None:
            await self._abandon()
            await self._departure.last(0)
            return 0
        stop = Stop(
            self._server,
            Floor(self._hold, self._front),
            self._shut_down,
            self._close,
            prestop=self._settings.prestop_s,
            timeout=self._settings.shutdown_timeout_s,
        )
        status = await stop.run()
        await self._departure.last(status, stop.until)
        return status

    async def _shut_down(self) -> None:
        message = await self._lifespan.stop() if self._lifespan is not None else None
        if message:
            self._told.write("error", "the application's shutdown failed", {"cause": message})

    async def _close(self) -> None:
        self._hold.close()

    async def _abandon(self) -> None:
        if self._lifespan is not None:
            await self._lifespan.abandon()
        if self._server is not None:
            await self._server.refuse()
            await self._answer_held(self._server)
            self._server.drop()
            await self._server.end()
        elif self._socket is not None:
            self._socket.close()

    async def _answer_held(self, server: Server) -> None:
        """Whoever waited for a start that has failed is told so, and not cut off."""
        assert self._front is not None
        Floor(self._hold, self._front).answer_held()
        waiting = server.tasks()
        if waiting:
            await asyncio.wait(waiting, timeout=REST_S)


def _format(settings: Settings) -> logs.Choice:
    return {"human": "console", "json": "json"}.get(settings.log_format or "", "auto")  # type: ignore[return-value]
