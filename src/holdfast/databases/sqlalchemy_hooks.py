"""The hooks of one SQLAlchemy engine: they keep the ledger, report losses, refuse and wait.

Called in whatever thread or greenlet uses the engine. The success path of a query is
`_executing` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from sqlalchemy import Connection, event, exc

from holdfast.context import REQUEST, STRAYS, Request
from holdfast.databases.database import Database
from holdfast.databases.link import Link
from holdfast.databases.looking import holds_on
from holdfast.databases.reading import commits, reads_only
from holdfast.databases.sqlalchemy_again import ATTEMPTS, exchange, may_send_again
from holdfast.databases.sqlalchemy_commit import Commits
from holdfast.databases.sqlalchemy_connect import AWAY, Connecting
from holdfast.databases.sqlalchemy_driver import EngineDriver
from holdfast.databases.sqlalchemy_ping import Pings
from holdfast.databases.sqlalchemy_raw import Past
from holdfast.events import BUS, StatementSentAgain
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.faults.verdicts import READ_ONLY, turns_away
from holdfast.policy.replay import Commit

POOL_EXHAUSTED = Fault(
    category=Category.OVERLOAD,
    status=503,
    transient=True,
    outcome=Outcome.NOT_APPLIED,
)


@dataclass(frozen=True, slots=True)
class _Again:
    """A statement that may be sent once more."""

    send: Callable[..., Any]
    statement: str
    parameters: Any
    context: Any
    request: Request | None


class Hooks:
    """Wraps the methods of one engine's dialect, and listens to its pool."""

    def __init__(self, engine: Any, database: Database, driver: EngineDriver) -> None:
        self.engine = engine
        self.database = database
        self.driver = driver
        self._dialect = engine.dialect
        self.past = Past(self)
        self.connecting = Connecting(engine.dialect, database, driver, self._not_connected, self.past.sending)
        self.commits = Commits(self)
        self.pings = Pings(database, networked=driver.networked)
        self._let_in = False  # the database has accepted this engine's name and password before

    def install(self) -> None:
        """Put the hooks in place."""
        dialect = self._dialect
        for name in ("do_execute", "do_executemany"):
            setattr(dialect, name, self._executing(getattr(dialect, name)))
        bare = dialect.do_execute_no_params
        seen = self._executing(lambda cursor, statement, _, context: bare(cursor, statement, context))
        dialect.do_execute_no_params = lambda cursor, statement, context=None: seen(
            cursor, statement, None, context
        )
        for name in ("do_commit", "do_commit_twophase"):
            setattr(dialect, name, self.commits.seen(getattr(dialect, name), marked=name == "do_commit"))
        for name in ("do_rollback", "do_rollback_twophase"):
            setattr(dialect, name, self._rolling_back(getattr(dialect, name), prepared=name != "do_rollback"))
        for name in ("do_close", "do_terminate"):
            setattr(dialect, name, self._closing(getattr(dialect, name)))
        dialect.do_ping = self.pings.seen(dialect.do_ping)
        dialect.connect = self.connecting.connect
        dialect.get_driver_connection = self.past.lending(dialect.get_driver_connection)
        _hand_on(self.engine, self._acquiring(self.engine.raw_connection))
        if not self.commits.table.off:
            self.database.markers = self.commits.table
        event.listen(self.engine, "checkout", self._checked_out)
        event.listen(self.engine, "checkin", self._checked_in)
        event.listen(self.engine, "handle_error", self._error_handled)

    # ---- statements -----------------------------------------------------------------------------
    def _executing(self, original: Callable[..., Any]) -> Callable[..., Any]:
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
            if autocommitted and self.commits.frames(link, statement):
                connection = context.root_connection.connection
                write = partial(original, cursor, statement, parameters, context)
                self.commits.framed(link, connection, write)
                return
            link.began = monotonic()
            try:
                original(cursor, statement, parameters, context)
            except BaseException as error:
                link.began = 0.0
                if link.sent == 1 and self._lost(link, error):
                    again = _Again(original, statement, parameters, context, request)
                    if self._sent_again(link, error, again):
                        return
                self.failed(link, error)
                if autocommitted:
                    self.commits.ended(link, error)
                raise
            link.began = 0.0
            database.heard_at = monotonic()
            if autocommitted:
                self.commits.ended(link, None)

        return seen

    def _lost(self, link: Link, error: BaseException) -> bool:
        return isinstance(error, Exception) and (link.cut or classify(error, database=True).lost)

    def _sent_again(self, link: Link, error: BaseException, again: _Again) -> bool:
        """Send a statement that has no past on its lost connection on a fresh one; whether it worked."""
        if not may_send_again(self.engine, again.context, again.statement, again.request):
            return False
        for _ in range(ATTEMPTS):
            if not link.cut:
                self.database.broken(said(error))
            if not self.connecting.settles(again.request):
                return False
            try:
                cursor = exchange(again.context, error)
                link = self.link(again.context.root_connection.connection) or link
                link.out, link.request, link.sent, link.began = True, again.request, 1, monotonic()
                again.send(cursor, again.statement, again.parameters, again.context)
            except Exception as latest:
                link.began = 0.0
                if not self._lost(link, latest):
                    self.failed(link, latest)
                    raise
                error = latest
            else:
                link.began = 0.0
                self.database.heard_at = monotonic()
                BUS.publish(StatementSentAgain(database=self.database.name, cause=said(error)))
                return True
        return False

    def _sending(self, link: Link, request: Request | None, statement: str) -> bool:
        """Book *statement*; whether it is a write that commits by itself."""
        link.sent += 1
        link.seen = True
        reads = reads_only(statement)
        link.reads_first = reads and link.sent == 1
        if request is None:
            if not reads:
                STRAYS.add()
        else:
            ledger = request.ledger
            ledger.sent += 1
            link.request = request
        if reads:
            return False
        self.wrote(link, request)
        if not (self._autocommits(link) or commits(statement)):
            return False
        self.commits.sent(link)
        return True

    def wrote(self, link: Link, request: Request | None) -> None:
        """The transaction on *link* writes, and has not ended."""
        if not link.wrote:
            link.wrote = True
            link.ledger = None if request is None else request.ledger
            if link.ledger is not None:
                link.ledger.open_writes += 1

    def _autocommits(self, link: Link) -> bool:
        connection = link.connection
        if getattr(connection, "autocommit", False) is True:
            return True
        return not self.driver.networked and getattr(connection, "isolation_level", "") is None

    # ---- transactions ---------------------------------------------------------------------------

    def _rolling_back(self, original: Callable[..., Any], *, prepared: bool) -> Callable[..., Any]:
        """A rollback that meets a lost connection has succeeded: the server undoes what nobody can commit
        any more, unless it was *prepared*."""

        def seen(connection: Any, *args: Any, **kwargs: Any) -> None:
            link = self.link(connection)
            if link is None or not link.sent:  # the pool resets what was ended before
                if link is None or not link.cut:  # and of one that we ended nothing is left
                    original(connection, *args, **kwargs)
                return
            link.began = monotonic()
            try:
                original(connection, *args, **kwargs)
            except BaseException as error:
                if prepared or not self._lost(link, error):
                    self.failed(link, error)
                    raise
                if not link.cut:
                    self.database.broken(said(error))
                    link.abort()  # the pool finds it closed, and opens another
            finally:
                link.began = 0.0
                link.sent = 0
                if link.wrote:
                    if link.ledger is not None:
                        link.ledger.settle(Commit.ROLLED_BACK)
                    self.forget_writes(link)

        return seen

    def forget_writes(self, link: Link) -> None:
        """The transaction on *link* has ended, or never shall."""
        link.sent = 0
        link.ends = None
        if link.wrote:
            link.wrote = False
            if link.ledger is not None:
                link.ledger.open_writes -= 1
                link.ledger = None

    # ---- connections ----------------------------------------------------------------------------

    def _closing(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        links = self.database.links

        def seen(connection: Any) -> None:
            link = links.pop(id(connection), None)
            if link is not None:
                self.forget_writes(link)
            original(connection)

        return seen

    # ---- the pool -------------------------------------------------------------------------------

    def _acquiring(self, original: Callable[[], Any]) -> Callable[[], Any]:
        """A pool that had no connection in time: nothing was attempted, so it may be tried again.

        Where too many threads wait already, there is no time: the request waits at the door instead.
        """
        driver = self.driver
        as_task = self._dialect.is_async and driver.networked
        threads = not self._dialect.is_async and driver.networked

        def seen() -> Any:
            caller = object()
            driver.acquiring.add(caller)  # a set: threads come and go at any moment
            try:
                if as_task and driver.exhausted():
                    return self.connecting.interruptible(original)
                if threads and driver.crowded():
                    self._turn_away()
                return original()
            except exc.TimeoutError as error:
                request = REQUEST.get()
                if request is not None:
                    ledger = request.ledger
                    ledger.fail(POOL_EXHAUSTED, error)
                    ledger.crowded = self.database.name
                raise
            finally:
                driver.acquiring.discard(caller)

        return seen

    def _turn_away(self) -> None:
        """Send a request back to the door, if it can be run again, as though the pool had timed out."""
        request = REQUEST.get()
        if request is not None and request.kind == "http" and request.may_run_again():
            waiting = len(self.driver.acquiring) - 1
            raise exc.TimeoutError(f"{waiting} threads wait for the pool of {self.database.name!r} already")

    def _checked_out(self, connection: Any, *_: Any) -> None:
        """A connection of the past, or one that the kernel knows to be dead, is replaced here."""
        database = self.database
        request = REQUEST.get()
        if request is not None:
            request.ledger.databases.add(database.name)
        link = database.links.get(id(connection)) or self.connecting.welcome(connection)
        self.pings.refuse_past(link)
        self.pings.if_due(link, self._dialect, connection)
        link.out = self._let_in = True
        link.seen = False
        link.request = request

    def _checked_in(self, connection: Any, *_: Any) -> None:
        link = self.database.links.get(id(connection))
        if link is not None:
            self.past.given_back(link)
            link.out = False
            link.request = None
            link.used_at = monotonic()
            self.forget_writes(link)

    # ---- failures -------------------------------------------------------------------------------

    def _error_handled(self, context: Any) -> None:
        """What no wrapped method saw: fetching, setting up a fresh connection. And what SQLAlchemy does
        not know for a loss: it would give such a connection to somebody else."""
        error = context.original_exception
        if isinstance(error, Exception) and not context.is_disconnect:
            context.is_disconnect = classify(error, database=True).lost
        request = REQUEST.get()
        if request is None or request.ledger.error is not error:
            self.failed(None, error)

    def _not_connected(self, error: BaseException) -> None:
        """Judge what a login met. Who was let in before and is turned away now, its password changed,
        tries again: another connection may come free. Once none is left the database is away, and
        only then: those that live serve on, and could not be opened again."""
        self.failed(None, error)
        if not (self._let_in and isinstance(error, Exception) and turns_away(classify(error, database=True))):
            return
        away = not holds_on(self.database)
        request = REQUEST.get()
        if request is not None:
            request.ledger.fail(AWAY, error)
            if away:
                request.ledger.lost = self.database.name
        if away:
            self.database.broken(said(error))

    def failed(self, link: Link | None, error: BaseException) -> None:
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
            ledger.fail(fault if fault.transient else AWAY, error)
            if lost:
                ledger.lost = self.database.name
        if fault.code == READ_ONLY and self.database.refuses_writes(link) and request is not None:
            request.ledger.read_only = self.database.name
        if lost and not (link is not None and link.cut):
            self.database.broken(said(error))

    def link(self, connection: Any) -> Link | None:
        """What we know of *connection*, as the dialect or the pool hands it over."""
        if isinstance(connection, Connection):  # for two phases SQLAlchemy hands over its own
            connection = connection.connection
        return self.database.links.get(id(getattr(connection, "dbapi_connection", connection)))


def _hand_on(engine: Any, raw_connection: Callable[[], Any]) -> None:
    """Let *engine*, and those derived from it by execution options, acquire by *raw_connection*."""
    derive = engine.execution_options

    def with_options(**options: Any) -> Any:
        derived = derive(**options)
        _hand_on(derived, raw_connection)
        return derived

    engine.raw_connection = raw_connection
    engine.execution_options = with_options
