"""Opening connections for one SQLAlchemy engine: refused, waited for, watched, tuned, made known."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import weakref
from collections.abc import Callable
from itertools import count
from time import monotonic
from traceback import clear_frames
from typing import Any

from sqlalchemy.util import await_only, greenlet_spawn

from holdfast.context import REQUEST, Request
from holdfast.databases.adopt import REGISTRY, Importing
from holdfast.databases.database import Database
from holdfast.databases.link import Link, Opening
from holdfast.databases.sqlalchemy_driver import LIBRARIES, OURS, PROBING, EngineDriver
from holdfast.databases.sqlalchemy_unsaved import listen
from holdfast.databases.wire import keep_alive
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify

_NO_CONNECTION = "08001"
_LOGINS = 3  # at most, while they are lost one after the other and the database answers others
_WAITS = 2  # for a database that has gone in the moment in which it was asked
_BELIEVED_S = 5.0  # for the watch to find what we have found
_UNDOING: set[asyncio.Task[None]] = set()

AWAY = Fault(
    category=Category.DATABASE_CONNECTION,
    status=503,
    transient=True,
    outcome=Outcome.NOT_APPLIED,
    lost=True,
)


class Connecting:
    """What stands in for `connect` of one engine's dialect.

    *failed* judges what it raises; *sending* is told what a cursor of the driver's own sends.
    """

    def __init__(
        self,
        dialect: Any,
        database: Database,
        driver: EngineDriver,
        failed: Callable[[BaseException], None],
        sending: Callable[[Link, Any], None],
    ) -> None:
        self.database = database
        self.driver = driver
        self._dialect = dialect
        self._failed = failed
        self._sending = sending
        self._cursors: dict[type[Any], type[Any]] = {}  # what stands in for each class of cursors
        self._library = LIBRARIES.get(dialect.driver)
        self._connect = dialect.connect
        self._plain = False  # a pooler in between refused our startup settings

    def connect(self, *args: Any, **params: Any) -> Any:
        """Open a connection; while the database is known to be away refuse at once, or wait."""
        if PROBING.get():
            return self._open(args, params)
        request = REQUEST.get()
        importing = REGISTRY.importing
        if importing is not None and request is None and self.driver.networked and not OURS.get():
            return self._at_import(importing, args, params)
        if request is not None:
            request.ledger.databases.add(self.database.name)
        if self.database.away:
            self._admit(request)
        listen()  # an engine may be older than the application's import of the ORM
        connection = self._tried(request, args, params)
        self.welcome(connection)
        return connection

    def _tried(self, request: Request | None, args: Any, params: Any) -> Any:
        """Open a connection. Who finds out that the database has gone waits like those who come after."""
        for waited in count():
            if request is not None:
                request.ledger.attempts += 1
            try:
                return self._watched(args, params)
            except BaseException as error:
                self._failed(error)
                if waited == _WAITS or not self._waits(request, error):
                    raise
        raise AssertionError  # it counts for ever

    def _waits(self, request: Request | None, error: BaseException) -> bool:
        """Whether what cannot be run again has waited for a database that *error* says is gone."""
        if not self.driver.networked or not isinstance(error, Exception):
            return False
        return classify(error, database=True).lost and self._outlasts(request)

    def _outlasts(self, request: Request | None) -> bool:
        """Whether what cannot be run again has waited until the database answers."""
        if OURS.get() or (request is not None and request.may_run_again()):
            return False
        return self.settles(request)

    def _at_import(self, importing: Importing, args: Any, params: Any) -> Any:
        """Open a connection for an application that is being imported. An import that has failed
        cannot be repeated, so it is this call that waits for the database."""
        while True:
            try:
                connection = self._watched(args, params)
                break
            except Exception as error:
                self._failed(error)
                pause = importing.pause(self.database, error)
                if pause is None:
                    raise
            if self._dialect.is_async:
                await_only(asyncio.to_thread(importing.rest, pause))
            else:
                importing.rest(pause)
        self._until_believed()
        self.welcome(connection)
        return connection

    def _until_believed(self) -> None:
        """We have a connection before the watch knows: a checkout would take it for one of the past."""
        database = self.database
        if self._dialect.is_async:
            await_only(database.until_settled(_BELIEVED_S))
        else:
            database.wait_settled(_BELIEVED_S)

    def _admit(self, request: Request | None) -> None:
        """While the database is away: what can be run again is refused here and now; what cannot
        waits for it, in its task or thread, as long as a request may wait. Our own work is done for
        requests that wait elsewhere."""
        if OURS.get():
            raise ConnectionRefusedError(f"database {self.database.name!r} is away ({self.database.cause})")
        again = request is not None and request.kind == "http" and request.may_run_again()
        if again or not self.settles(request):
            raise self.away(request)

    def settles(self, request: Request | None) -> bool:
        """Wait until the database answers, in this task or thread; False when that took too long."""
        return self.settles_within(_patience(request, self.database))

    def settles_within(self, timeout: float | None) -> bool:
        """The same, at most *timeout* seconds; None: for ever."""
        database = self.database
        if self._dialect.is_async:
            return bool(await_only(database.until_settled(timeout)))
        return not _on_a_loop(database) and database.wait_settled(timeout)

    def away(self, request: Request | None) -> Exception:
        """The error for a connection that was not attempted: one of the driver's own kind."""
        database = self.database
        cause = database.cause or "logins were not answered"
        message = f"database {database.name!r} is away ({cause}); no connection was attempted"
        error: Exception = self._dialect.dbapi.OperationalError(message)
        # SQLSTATE's word for it, for whoever judges it: of asyncpg's class alone nobody could tell.
        error.sqlstate = _NO_CONNECTION  # type: ignore[attr-defined]
        if request is not None:
            ledger = request.ledger
            ledger.fail(AWAY, error)
            ledger.lost = database.name
        return error

    def _watched(self, args: Any, params: Any) -> Any:
        """Connect in a task or thread beside, so that the watch can end it."""
        if not self.driver.networked:
            return self._connect(*args, **params)
        opening = _open_in_task if self._dialect.is_async else _open_in_thread
        database = self.database
        lost: ConnectionAbortedError | None = None
        for _ in range(_LOGINS):
            try:
                return opening(database, lambda: self._open(args, params), self._dialect)
            except ConnectionAbortedError as error:
                lost = error
            if database.away or database.dismissed:  # else it answers others, and this one was lost
                break
        raise self.away(REQUEST.get()) from lost

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

    def welcome(self, connection: Any) -> Link:
        """Make *connection* known: one that we opened, or one that the application opened past us (a
        creator of its own, a listener, before its engine was known to us)."""
        database = self.database
        library = self._library
        abort, fileno, cancel = _nothing, None, None
        if library is not None:
            own = getattr(connection, "driver_connection", connection)
            abort, fileno = library.aborter(own), library.fileno(own)
            if not self._dialect.is_async:
                cancel = library.canceller(own)
                own.cursor_factory = self._telling(own.cursor_factory)
                own.server_cursor_factory = self._fetching(own.server_cursor_factory)
            if fileno is not None and REGISTRY.rules.active:
                keep_alive(fileno())
        now = monotonic()
        link = database.links[id(connection)] = Link(
            connection,
            database.generation,
            now,
            abort,
            fileno,
            blocks=not self._dialect.is_async,
            cancel=cancel,
        )
        link.idle_limit = self.driver.idle_limit
        link.driver = self.driver
        if library is not None:
            link.backend = library.backend(own)
            link.loop = asyncio.get_running_loop() if self._dialect.is_async else None
        database.heard_at = now
        return link

    def _telling(self, factory: type[Any]) -> type[Any]:
        assert self._library is not None
        cursors = self._cursors
        if factory not in cursors:
            told = _weakly(self._sending)
            cursors[factory] = made = self._library.telling(factory, self.database.links.get, told)
            cursors[made] = made
        return cursors[factory]

    def _fetching(self, factory: type[Any]) -> type[Any]:
        assert self._library is not None
        cursors = self._cursors
        if factory not in cursors:
            cursors[factory] = made = self._library.fetching(factory, self.database.links.get)
            cursors[made] = made
        return cursors[factory]

    def interruptible(self, acquire: Callable[[], Any]) -> Any:
        """Wait for a connection of an exhausted pool in a task beside, so that the watch can end
        the wait when the connections that it hopes for fall silent. What cannot be run again waits
        until the database answers, and then for a connection again."""
        for waited in count():
            try:
                hoped = _opened(self.database, acquire, lambda fairy: fairy.close(), login=False)
                return await_only(hoped)
            except ConnectionAbortedError as error:
                request = REQUEST.get()
                if waited == _WAITS or not self._outlasts(request):
                    raise self.away(request) from error
        raise AssertionError  # it counts for ever


def _weakly(told: Callable[[Link, Any], None]) -> Callable[[Link, Any], None]:
    """*told*, a method, for as long as its object lives: a class refers to itself, and what it holds
    would outlive an engine that its application has dropped."""
    method = weakref.WeakMethod(told)

    def tell(link: Link, statement: Any) -> None:
        alive = method()
        if alive is not None:
            alive(link, statement)

    return tell


def _patience(request: Request | None, database: Database) -> float | None:
    if request is None or request.kind != "http" or request.started:
        return database.patience_s  # there is no deadline, or no longer
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


async def _opened(
    database: Database, open_: Callable[[], Any], undo: Callable[[Any], None], *, login: bool = True
) -> Any:
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
    database.connecting[key] = Opening(monotonic(), end, login)
    try:
        await task
        return got.pop()
    except asyncio.CancelledError as error:
        if ended and task.cancelled():
            # psycopg's half-open connection stands in these frames: it would live as long as the error
            # does, and a server that is stopping waits for whoever has connected and says nothing.
            clear_frames(error.__traceback__)
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

    database.connecting[id(done)] = Opening(monotonic(), end)
    try:
        threading.Thread(target=run, name="holdfast-connect", daemon=True).start()
        done.wait()
    finally:
        database.connecting.pop(id(done), None)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
