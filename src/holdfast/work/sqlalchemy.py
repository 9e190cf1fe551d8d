"""One attempt at a transaction with SQLAlchemy: opened, watched, ended, on an engine or in sessions.

An `Attempt` belongs to the task or thread that makes it, and is used once. All that is done to a
connection is done to SQLAlchemy's synchronous one; asynchronous targets run the same functions
beside it (`run_sync`).

What is recorded comes from events of the very connection: the engine's other connections pay nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn, TypeAlias
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from holdfast.databases.database import Database
from holdfast.databases.reading import ends_transaction, reads_only
from holdfast.databases.sqlalchemy import adopt
from holdfast.databases.sqlalchemy_hooks import Hooks
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.policy.replay import Commit
from holdfast.work.sqlalchemy_aborted import Answers
from holdfast.work.sqlalchemy_versions import Versions
from holdfast.work.transactions_end import Phase, Seen, end_of
from holdfast.work.transactions_errors import ConcurrentModification
from holdfast.work.transactions_retry import Ended
from holdfast.work.transactions_told import MOST, told_all

Target: TypeAlias = Engine | AsyncEngine | sessionmaker[Any] | async_sessionmaker[Any]
_ASYNC = (AsyncEngine, async_sessionmaker)
_TARGETS = (Engine, sessionmaker, *_ASYNC)

_INSTEAD = {
    "COMMIT": "leave it out, or make two transactions",
    "ROLLBACK": "raise an error, which rolls all of it back, or use begin_nested() for a part",
}
_ADOPTING = threading.Lock()
_TRIED: WeakSet[Engine] = WeakSet()


def is_async(target: object) -> bool:
    """Whether *target* is used by tasks. Raises TypeError when it is nothing to make transactions with."""
    if not isinstance(target, _TARGETS):
        hint = ", not one of its sessions" if isinstance(target, Session | AsyncSession) else ""
        raise TypeError(
            f"a transaction is made with an Engine, AsyncEngine, sessionmaker or async_sessionmaker{hint}; "
            f"this is {type(target).__name__}"
        )
    return isinstance(target, _ASYNC)


class Attempt:
    """What one attempt is made with, what it sent, and how it ended."""

    def __init__(self, target: Any, isolation: str | None, number: int = 1) -> None:
        self.name, hooks = _known(target)
        self.database: Database | None = None if hooks is None else hooks.database
        self._markers = None if hooks is None else hooks.commits.table
        self._target = target
        self._isolation = None if isolation is None else _level(isolation)
        self._number = number
        self._phase = Phase.OPENING
        self._latest: deque[str] = deque(maxlen=MOST)
        self._sent = 0
        self._only_read = True
        self._answers = Answers()
        self._quote = '"'
        self._commits = 0
        self._ends: list[Commit] = []  # of those, as far as the dialect's hook knows
        self._misuse: RuntimeError | None = None
        self._joined: list[Connection] = []
        self._transaction: Any = None
        self._lent = isinstance(getattr(target, "kw", {}).get("bind"), Connection | AsyncConnection)
        self._two_phases = False
        self._versions = Versions()
        self._marking = self._marks()

    @property
    def began(self) -> bool:
        """Whether there was a transaction at all."""
        return self._phase is not Phase.OPENING

    def operations(self) -> tuple[str, ...]:
        """What it sent, without values; the last `MOST`."""
        return told_all(self._latest, self._sent, self._quote)

    def ended(self, error: BaseException) -> Ended:
        """What became of it, now that it has raised *error*."""
        fault = classify(error, database=self._phase is not Phase.WORK)
        ours = self._phase is not Phase.WORK or _is_librarys(error)
        unmarked = self._commits > 0 and self._marking and not self._marks()
        only_read = self._sent > 0 and self._only_read
        end = end_of(Seen(self._commits, only_read, self._ends, fault))
        return Ended(error, end, fault, ours, unmarked and end is Commit.ROLLED_BACK)

    # ---- the whole of it ------------------------------------------------------------------------

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The transaction, for a thread."""
        with self._made() as made:
            self._begin(made)
            try:
                yield made
            except BaseException as error:
                self._roll_back(made, error)
                raise
            self._commit(made)

    @asynccontextmanager
    async def opened_async(self) -> AsyncIterator[Any]:
        """The transaction, for a task. Cancelled, it still gives its connection back."""
        async with self._made() as made:
            await made.run_sync(self._begin)
            try:
                yield made
            except BaseException as error:
                await made.run_sync(self._roll_back, error)
                raise
            await made.run_sync(self._commit)

    def conflict(self, error: BaseException) -> ConcurrentModification | None:
        """What *error* says about a row that has changed meanwhile, read in a transaction of its own."""
        if not isinstance(error, StaleDataError) or not self._versions.concern(error):
            return None
        with self._target() as session:
            return self._versions.conflict(session, error)

    async def conflict_async(self, error: BaseException) -> ConcurrentModification | None:
        """The same for a task."""
        if not isinstance(error, StaleDataError) or not self._versions.concern(error):
            return None
        async with self._target() as session:
            found: ConcurrentModification | None = await session.run_sync(self._versions.conflict, error)
            return found

    # ---- its steps, each on the synchronous connection or session -------------------------------

    def _made(self) -> Any:
        target = self._target
        return target.connect() if isinstance(target, Engine | AsyncEngine) else target()

    def _begin(self, made: Connection | Session) -> None:
        try:
            if isinstance(made, Session):
                self._begin_session(made)
            else:
                self._begin_connection(made)
        except BaseException:
            self._part()
            raise
        self._transaction.__enter__()
        self._phase = Phase.WORK

    def _begin_connection(self, connection: Connection) -> None:
        if self._isolation is not None:
            connection = connection.execution_options(isolation_level=self._isolation)
        self._transaction = connection.begin()
        self._join(connection)

    def _begin_session(self, session: Session) -> None:
        self._two_phases = session.twophase
        self._transaction = session.begin()
        event.listen(session, "after_begin", lambda _, __, connection: self._join(connection))
        event.listen(session, "before_flush", self._versions.look)
        options = {} if self._isolation is None else {"isolation_level": self._isolation}
        try:
            session.connection(execution_options=options)
        except UnboundExecutionError:  # its tables are bound, each to an engine: they come when they are used
            if self._isolation is not None:
                raise

    def _roll_back(self, made: Connection | Session, error: BaseException) -> None:
        """Undo it all; a connection that cannot even do that is ended, so that its server does."""
        try:
            self._transaction.__exit__(type(error), error, None)
        except Exception as failed:  # noqa: BLE001 - whatever a driver raises: *error* is what is told
            error.add_note(f"transaction: ROLLBACK failed too ({said(failed)}); the connection was ended")
            made.invalidate()
        finally:
            self._part()

    def _commit(self, made: Connection | Session) -> None:
        self._phase = Phase.ENDING
        try:
            self._refuse_swallowed()
        except BaseException as error:
            self._roll_back(made, error)
            raise
        try:
            self._transaction.__exit__(None, None, None)
        finally:
            self._part()

    # ---- what is seen of its connections --------------------------------------------------------

    def _join(self, connection: Connection) -> None:
        """*connection* takes part from now on."""
        if any(one is connection for one in self._joined):  # a savepoint begins as well
            return
        self._refuse_autocommit(connection)
        self._quote = connection.dialect.identifier_preparer.initial_quote
        if connection.dialect.name == "sqlite":
            self._begin_on_file(connection)
        self._joined.append(connection)
        for name, listener in self._listeners():
            event.listen(connection, name, listener)

    def _part(self) -> None:
        """Let go of its connections: one that a session is bound to, by its owner, lives on."""
        while self._joined:
            connection = self._joined.pop()
            for name, listener in self._listeners() if self._lent else ():
                event.remove(connection, name, listener)
        self._transaction = None

    def _listeners(self) -> Iterator[tuple[str, Callable[..., None]]]:
        yield "before_cursor_execute", self._sending
        yield "after_cursor_execute", self._answers.answered
        yield "commit", self._committing
        if self._two_phases:
            yield "commit_twophase", self._committing_prepared

    def _sending(
        self, _connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, *_: Any
    ) -> None:
        self._latest.append(statement)
        self._sent += 1
        if not reads_only(statement):
            self._only_read = False
        word = ends_transaction(statement) if self._phase is Phase.WORK else ""
        if word:
            self._refuse(word)
        self._answers.sending(context)

    def _committing(self, connection: Connection, *_: Any) -> None:
        if self._phase is not Phase.ENDING:
            # Interrupted here, SQLAlchemy takes the connection for reset: it would be given back as it is.
            connection.dialect.do_rollback(connection.connection)
            self._refuse("COMMIT")
        self._ending(connection)

    def _committing_prepared(self, connection: Connection, *_: Any) -> None:
        if self._phase is not Phase.ENDING:
            connection.invalidate()
            self._refuse("COMMIT")
        self._ending(connection)

    def _ending(self, connection: Connection) -> None:
        """Its COMMIT is sent next: what becomes of that, and of no other one, is ours."""
        self._commits += 1
        hooks: Hooks | None = getattr(_engine_of(connection), "_holdfast_hooks", None)
        link = None if hooks is None or connection.invalidated else hooks.link(connection)
        if link is not None:
            link.ends = self._ends

    def _refuse(self, word: str) -> NoReturn:
        self._misuse = RuntimeError(
            f"{word} inside of a transaction that commits at its end: {_INSTEAD[word]}; nothing was committed"
        )
        raise self._misuse

    def _refuse_swallowed(self) -> None:
        """What was caught inside must not end in a COMMIT that stores a part, or nothing."""
        if self._misuse is not None:
            raise self._misuse
        if any(self._answers.given_up(one) for one in self._joined):
            raise RuntimeError(
                "a statement of this transaction failed and its error was caught, so PostgreSQL commits "
                "nothing of it: let the error out, or put that statement into begin_nested()"
            )

    def _begin_on_file(self, connection: Connection) -> None:
        """SQLite's driver begins only before the first change: what was read until then could be
        outdated, and a table made before it would stay."""
        own = connection.connection.driver_connection
        if getattr(own, "in_transaction", False):
            return
        # Whoever will write takes the lock at once, or its first write could be refused at no wait.
        at_once = self._isolation == "SERIALIZABLE" or self._number > 1
        connection.exec_driver_sql("BEGIN IMMEDIATE" if at_once else "BEGIN")

    def _refuse_autocommit(self, connection: Connection) -> None:
        level = connection.get_execution_options().get("isolation_level")
        if level is None:
            level = getattr(connection.dialect, "_on_connect_isolation_level", None)
        if level == "AUTOCOMMIT":
            raise ValueError(
                f"{self.name!r} commits each statement by itself (isolation_level AUTOCOMMIT), so nothing "
                "could be rolled back; name an isolation level, or use an engine without it"
            )

    def _marks(self) -> bool:
        return self._markers is not None and not self._markers.off


def _level(isolation: str) -> str:
    level = isolation.replace("_", " ").upper()
    if level == "AUTOCOMMIT":
        raise ValueError("isolation 'AUTOCOMMIT' is no transaction: nothing could be rolled back")
    return level


def _is_librarys(error: BaseException) -> bool:
    """Whether *error*, or what it was raised from, came out of SQLAlchemy."""
    one: BaseException | None = error
    for _ in range(16):
        if one is None or isinstance(one, DBAPIError | SQLAlchemyError):
            return one is not None
        one = one.__cause__
    return False


def _known(target: Any) -> tuple[str, Hooks | None]:
    """What the target's database is called, and the hooks of its engine, which is adopted if need be."""
    engine = _engine_of(target)
    if engine is None:
        return "database", None
    hooks: Hooks | None = getattr(engine, "_holdfast_hooks", None)
    if hooks is None:
        with _ADOPTING:
            if engine not in _TRIED:
                _TRIED.add(engine)
                adopt(engine)
        hooks = getattr(engine, "_holdfast_hooks", None)
    if hooks is None:
        return engine.url.database or engine.url.get_backend_name(), None
    return hooks.database.name, hooks


def _engine_of(target: Any) -> Engine | None:
    """The engine behind it; None for sessions whose tables are bound one by one."""
    if isinstance(target, sessionmaker | async_sessionmaker):
        target = target.kw.get("bind")
    if isinstance(target, AsyncEngine):
        target = target.sync_engine
    if isinstance(target, AsyncConnection):
        target = target.sync_connection
    if isinstance(target, Connection):
        target = target.engine
    while hasattr(target, "_proxied"):  # derived by execution options
        target = target._proxied
    return target if isinstance(target, Engine) else None
