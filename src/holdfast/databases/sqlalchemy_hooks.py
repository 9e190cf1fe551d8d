"""The hooks of one SQLAlchemy engine: they keep the ledger, report losses, refuse and wait.

Called in whatever thread or greenlet uses the engine. The success path of a query is
`_executing` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from sqlalchemy import Connection, event, exc
from sqlalchemy.util import await_only, greenlet_spawn

from holdfast.context import REQUEST, STRAYS, Request
from holdfast.databases import asyncpg, psycopg
from holdfast.databases.adopt import REGISTRY
from holdfast.databases.database import Database
from holdfast.databases.link import Link
from holdfast.databases.reading import commits, reads_only
from holdfast.databases.sqlalchemy_driver import PROBING, EngineDriver
from holdfast.databases.wire import keep_alive
from holdfast.events import BUS, CommitInDoubt
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify
from holdfast.faults.redact import redact_text
from holdfast.policy.replay import Commit

PING_AFTER_S = 1.0
_UNDOING: set[asyncio.Task[None]] = set()
_LIBRARIES: dict[str, Any] = {"asyncpg": asyncpg, "psycopg": psycopg}

AWAY = Fault(
    category=Category.DATABASE_CONNECTION,
    status=503,
    transient=True,
    outcome=Outcome.NOT_APPLIED,
    lost=True,
)

POOL_EXHAUSTED = Fault(
    category=Category.OVERLOAD,
    status=503,
    transient=True,
    outcome=Outcome.NOT_APPLIED,
)


class Hooks:
    """Wraps the methods of one engine's dialect, and listens to its pool."""

    def __init__(self, engine: Any, database: Database, driver: EngineDriver) -> None:
        self.engine = engine
        self.database = database
        self.driver = driver
        self._dialect = engine.dialect
        self._library = _LIBRARIES.get(engine.dialect.driver)
        self._connect = engine.dialect.connect
        self._plain = False  # a pooler in between refused our startup settings

    def install(self) -> None:
        """Put the hooks in place."""
        dialect = self._dialect
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            setattr(dialect, name, self._executing(getattr(dialect, name), name))
        for name in ("do_commit", "do_commit_twophase"):
            setattr(dialect, name, self._committing(getattr(dialect, name)))
        for name in ("do_rollback", "do_rollback_twophase"):
            setattr(dialect, name, self._rolling_back(getattr(dialect, name)))
        for name in ("do_close", "do_terminate"):
            setattr(dialect, name, self._closing(getattr(dialect, name)))
        dialect.connect = self.connect
        self.engine.raw_connection = self._acquiring(self.engine.raw_connection)
        event.listen(self.engine, "checkout", self._checked_out)
        event.listen(self.engine, "checkin", self._checked_in)
        event.listen(self.engine, "handle_error", self._error_handled)

    # ---- statements -----------------------------------------------------------------------------

    def _executing(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        links = self.database.links
        database = self.database
        get = REQUEST.get

        def seen(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            link = links.get(id(context.root_connection.connection.dbapi_connection)) if context else None
            if link is None:
                original(cursor, statement, parameters, context)
                return
            request = get()
            autocommitted = self._sending(link, request, statement)
            link.began = monotonic()
            try:
                original(cursor, statement, parameters, context)
            except BaseException as error:
                link.began = 0.0
                self._failed(link, error)
                if autocommitted:
                    self._ended(link, error)
                raise
            link.began = 0.0
            database.heard_at = monotonic()
            if autocommitted:
                self._ended(link, None)

        def seen_without(cursor: Any, statement: str, context: Any = None) -> None:
            seen(cursor, statement, None, context)

        if name == "do_execute_no_params":
            bare = original
            original = lambda cursor, statement, _, context: bare(cursor, statement, context)  # noqa: E731
            return seen_without
        return seen

    def _sending(self, link: Link, request: Request | None, statement: str) -> bool:
        """Book *statement*; whether it is a write that commits by itself."""
        reads = reads_only(statement)
        if request is None:
            if not reads:
                STRAYS.add()
        else:
            ledger = request.ledger
            ledger.sent += 1
            link.request = request
        if reads:
            return False
        if not link.wrote:
            link.wrote = True
            link.ledger = None if request is None else request.ledger
            if link.ledger is not None:
                link.ledger.open_writes += 1
        if not (self._autocommits(link) or commits(statement)):
            return False
        self._committing_now(link)
        return True

    def _autocommits(self, link: Link) -> bool:
        connection = link.connection
        if getattr(connection, "autocommit", False) is True:
            return True
        return not self.driver.networked and getattr(connection, "isolation_level", "") is None

    # ---- transactions ---------------------------------------------------------------------------

    def _committing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def seen(connection: Any, *args: Any, **kwargs: Any) -> None:
            link = self._link(connection)
            if link is None:
                original(connection, *args, **kwargs)
                return
            wrote = link.wrote
            if wrote:
                self._committing_now(link)
            link.began = monotonic()
            try:
                original(connection, *args, **kwargs)
            except BaseException as error:
                link.began = 0.0
                self._failed(link, error)
                if wrote:
                    self._ended(link, error)
                raise
            link.began = 0.0
            self.database.heard_at = monotonic()
            if wrote:
                self._ended(link, None)

        return seen

    def _committing_now(self, link: Link) -> None:
        link.committing = True
        if link.ledger is not None:
            link.ledger.pending += 1

    def _ended(self, link: Link, error: BaseException | None) -> None:
        """A transaction that wrote has ended with COMMIT: well, refused, or nobody knows."""
        ledger = link.ledger
        link.committing = False
        if error is None:
            end = Commit.COMMITTED
        elif not isinstance(error, Exception) or link.cut or _in_doubt(error):
            end = Commit.UNKNOWN
        else:
            end = Commit.ROLLED_BACK
        if ledger is not None:
            ledger.settle(end)
            ledger.pending -= 1
        if end is Commit.UNKNOWN and error is not None:
            request = link.request
            BUS.publish(
                CommitInDoubt(
                    database=self.database.name,
                    request_id=None if request is None else request.id,
                    cause=said(error),
                )
            )
        self._forget_writes(link)

    def _rolling_back(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def seen(connection: Any, *args: Any, **kwargs: Any) -> None:
            link = self._link(connection)
            if link is None:
                original(connection, *args, **kwargs)
                return
            link.began = monotonic()
            try:
                original(connection, *args, **kwargs)
            except BaseException as error:
                self._failed(link, error)
                raise
            finally:
                link.began = 0.0
                if link.wrote:
                    if link.ledger is not None:
                        link.ledger.settle(Commit.ROLLED_BACK)
                    self._forget_writes(link)

        return seen

    def _forget_writes(self, link: Link) -> None:
        if link.wrote:
            link.wrote = False
            if link.ledger is not None:
                link.ledger.open_writes -= 1
                link.ledger = None

    # ---- connections ----------------------------------------------------------------------------

    def connect(self, *args: Any, **params: Any) -> Any:
        """Open a connection; while the database is known to be away refuse at once, or wait."""
        if PROBING.get():
            return self._open(args, params)
        request = REQUEST.get()
        if request is not None:
            request.ledger.databases.add(self.database.name)
        if self.database.away:
            self._admit(request)
        if request is not None:
            request.ledger.attempts += 1
        try:
            connection = self._watched(args, params)
        except BaseException as error:
            self._failed(None, error)
            raise
        self._welcome(connection)
        return connection

    def _admit(self, request: Request | None) -> None:
        """While the database is away: what can be run again is refused here and now; what cannot
        waits for it, in its task or thread, as long as a request may wait."""
        database = self.database
        if request is None or request.kind != "http" or not request.may_run_again():
            timeout = _patience(request, database)
            if self._dialect.is_async:
                settled = await_only(database.until_settled(timeout))
            else:
                settled = not _on_a_loop(database) and database.wait_settled(timeout)
            if settled:
                return
        raise self._away(request)

    def _away(self, request: Request | None) -> Exception:
        """The error for a connection that was not attempted: one of the driver's own kind."""
        database = self.database
        message = f"database {database.name!r} is away ({database.cause}); no connection was attempted"
        error: Exception = self._dialect.dbapi.OperationalError(message)
        if request is not None:
            ledger = request.ledger
            ledger.fault, ledger.error, ledger.lost = AWAY, error, database.name
        return error

    def _watched(self, args: Any, params: Any) -> Any:
        """Connect in a task or thread beside, so that the watch can end it."""
        if not self.driver.networked:
            return self._connect(*args, **params)
        opening = _open_in_task if self._dialect.is_async else _open_in_thread
        try:
            return opening(self.database, lambda: self._open(args, params), self._dialect)
        except ConnectionAbortedError as error:
            raise self._away(REQUEST.get()) from error

    def _open(self, args: Any, params: Any) -> Any:
        library, rules = self._library, REGISTRY.rules
        if library is None or not rules.active:
            return self._connect(*args, **params)
        tuned = library.tune(dict(params), rules)
        if self._plain:
            return self._connect(*args, **library.untune(tuned))
        try:
            return self._connect(*args, **tuned)
        except Exception as error:
            if "startup parameter" not in str(error):
                raise
            self._plain = True
        return self._connect(*args, **library.untune(tuned))

    def _welcome(self, connection: Any) -> None:
        database = self.database
        library = self._library
        abort, fileno = _nothing, None
        if library is not None:
            own = getattr(connection, "driver_connection", connection)
            abort, fileno = library.aborter(own), library.fileno(own)
            if fileno is not None and REGISTRY.rules.active:
                keep_alive(fileno())
        now = monotonic()
        link = database.links[id(connection)] = Link(
            connection, database.generation, now, abort, fileno, blocks=not self._dialect.is_async
        )
        link.idle_limit = self.driver.idle_limit
        database.heard_at = now

    def _closing(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        links = self.database.links

        def seen(connection: Any) -> None:
            link = links.pop(id(connection), None)
            if link is not None:
                self._forget_writes(link)
            original(connection)

        return seen

    # ---- the pool -------------------------------------------------------------------------------

    def _acquiring(self, original: Callable[[], Any]) -> Callable[[], Any]:
        """A pool that had no connection in time: nothing was attempted, so it may be tried again."""
        driver = self.driver
        as_task = self._dialect.is_async and driver.networked

        def seen() -> Any:
            driver.acquiring += 1
            try:
                if as_task and driver.exhausted():
                    return self._interruptible(original)
                return original()
            except exc.TimeoutError as error:
                request = REQUEST.get()
                if request is not None:
                    request.ledger.fault, request.ledger.error = POOL_EXHAUSTED, error
                raise
            finally:
                driver.acquiring -= 1

        return seen

    def _interruptible(self, original: Callable[[], Any]) -> Any:
        """Wait for a connection of an exhausted pool in a task beside, so that the watch can end
        the wait when the connections that it hopes for fall silent."""
        try:
            return await_only(_opened(self.database, original, lambda fairy: fairy.close()))
        except ConnectionAbortedError as error:
            raise self._away(REQUEST.get()) from error

    def _checked_out(self, connection: Any, *_: Any) -> None:
        """A connection of the past, or one that the kernel knows to be dead, is replaced here."""
        database = self.database
        request = REQUEST.get()
        if request is not None:
            request.ledger.databases.add(database.name)
        link = database.links.get(id(connection))
        if link is None:
            return
        if link.generation != database.generation or database.away or link.is_gone():
            link.abort()
            raise exc.DisconnectionError
        if self.driver.networked and monotonic() - link.used_at > PING_AFTER_S:
            self._ping(link, connection)
        link.out = True
        link.request = request

    def _ping(self, link: Link, connection: Any) -> None:
        link.pinging = True
        link.began = monotonic()
        try:
            alive = self._dialect.do_ping(connection)
        except Exception as error:
            link.abort()
            raise exc.DisconnectionError from error
        finally:
            link.began, link.pinging = 0.0, False
        if not alive:  # SQLAlchemy before 2.1 says so instead of raising
            link.abort()
            raise exc.DisconnectionError
        self.database.heard_at = monotonic()

    def _checked_in(self, connection: Any, *_: Any) -> None:
        link = self.database.links.get(id(connection))
        if link is not None:
            link.out = False
            link.request = None
            link.used_at = monotonic()
            self._forget_writes(link)

    # ---- failures -------------------------------------------------------------------------------

    def _error_handled(self, context: Any) -> None:
        """What no wrapped method saw: fetching, setting up a fresh connection."""
        error = context.original_exception
        request = REQUEST.get()
        if request is None or request.ledger.error is not error:
            self._failed(None, error)

    def _failed(self, link: Link | None, error: BaseException) -> None:
        """Judge *error*: report a loss, and charge the request under way with it."""
        if not isinstance(error, Exception):
            return
        fault = classify(error, database=True)
        lost = fault.lost or (link is not None and link.cut)
        if not (lost or fault.transient):
            if fault.code is not None:
                self.database.heard_at = monotonic()
            return
        request = REQUEST.get()
        if request is not None:
            ledger = request.ledger
            ledger.fault, ledger.error = (fault if fault.transient else AWAY), error
            if lost:
                ledger.lost = self.database.name
        if lost and not (link is not None and link.cut):
            self.database.broken(said(error))

    def _link(self, connection: Any) -> Link | None:
        if isinstance(connection, Connection):  # for two phases SQLAlchemy hands over its own
            connection = connection.connection
        return self.database.links.get(id(getattr(connection, "dbapi_connection", connection)))


def said(error: BaseException) -> str:
    """*error* in one redacted line."""
    text = " ".join(str(error).split())[:200]
    return redact_text(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _in_doubt(error: Exception) -> bool:
    """Whether *error*, met at COMMIT, leaves open what became of it."""
    fault = classify(error, database=True)
    return fault.lost or fault.outcome is Outcome.UNKNOWN


def _patience(request: Request | None, database: Database) -> float | None:
    if request is None or request.kind != "http":
        return database.patience_s
    left = request.deadline_at - monotonic()
    return max(0.0, min(left, (database.patience_s or left) - request.held_for))


def _on_a_loop(database: Database) -> bool:
    """Whether waiting here would stop a loop that serves others; at startup it serves nobody."""
    if database.patience_s is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _nothing() -> None:
    """A file has no socket to end."""


def _open_in_task(database: Database, open_: Callable[[], Any], dialect: Any) -> Any:
    return await_only(_opened(database, open_, dialect.do_terminate))


async def _opened(database: Database, open_: Callable[[], Any], undo: Callable[[Any], None]) -> Any:
    """What *open_* returns, in a task beside; undone when a cancellation comes between."""
    loop = asyncio.get_running_loop()
    got: list[Any] = []

    async def opening() -> None:
        got.append(await greenlet_spawn(open_))

    task = loop.create_task(opening())
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        with contextlib.suppress(RuntimeError):  # its loop has ended, and so has whoever waited
            loop.call_soon_threadsafe(task.cancel)

    key = id(task)
    database.connecting[key] = (monotonic(), end)
    try:
        await task
        return got.pop()
    except asyncio.CancelledError:
        if ended and task.cancelled():
            msg = f"database {database.name!r} fell silent while a connection was being opened"
            raise ConnectionAbortedError(msg) from None
        raise
    finally:
        database.connecting.pop(key, None)
        for late in got:  # cancelled in the very moment it was there: nobody else knows of it
            undoing = loop.create_task(greenlet_spawn(undo, late))
            _UNDOING.add(undoing)
            undoing.add_done_callback(_UNDOING.discard)


def _open_in_thread(database: Database, open_: Callable[[], Any], dialect: Any) -> Any:
    done = threading.Event()
    outcome: list[Any] = []
    lock = threading.Lock()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> bool:
        with lock:
            if outcome:
                return False
            outcome.append((value, error))
        done.set()
        return True

    def run() -> None:
        try:
            value, error = context.run(open_), None
        except BaseException as raised:  # noqa: BLE001 - handed to whoever waits
            value, error = None, raised
        if not settle(value, error) and error is None:
            dialect.do_close(value)

    def end() -> None:
        msg = f"database {database.name!r} fell silent while a connection was being opened"
        settle(None, ConnectionAbortedError(msg))

    database.connecting[id(done)] = (monotonic(), end)
    try:
        threading.Thread(target=run, name="holdfast-connect", daemon=True).start()
        done.wait()
    finally:
        database.connecting.pop(id(done), None)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
