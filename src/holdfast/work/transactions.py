"""`transaction` and `run_transaction`: all or nothing, once or as often as it takes.

    async with transaction(engine) as tx: ...           # one attempt: a block cannot be run again
    order = await run_transaction(sessions, place)      # a function can
    with transaction(engine) as tx: ...                 # the same for engines and sessions of threads
    order = run_transaction(sessions, place)

Whatever raises inside, a cancellation too, rolls all of it back and is raised again. A COMMIT whose
answer is lost is never guessed about: the dialect's hook asks the database by the marker that each
attempt carries, and what it cannot find out raises `CommitOutcomeUnknown`.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from holdfast.context import MARKER, REQUEST, Marker
from holdfast.events import BUS, CommitInDoubt
from holdfast.faults.said import said
from holdfast.policy.replay import Commit
from holdfast.work.events import TransactionRolledBack
from holdfast.work.transactions_errors import CommitOutcomeUnknown, ConcurrentModification
from holdfast.work.transactions_retry import AWAY, Course, Ended, on_a_loop

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
    from sqlalchemy.orm import Session, sessionmaker

    from holdfast.work.sqlalchemy import Attempt

    SessionT = TypeVar("SessionT", bound=Session)
    AsyncSessionT = TypeVar("AsyncSessionT", bound=AsyncSession)

T = TypeVar("T")
R = TypeVar("R")


class Transaction(Generic[T]):
    """A transaction of a thread, used by `with`, once."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt: Attempt | None = attempt

    def __enter__(self) -> T:
        attempt, self._attempt = _unused(self._attempt), None
        self._block = _block(attempt)
        entered: T = self._block.__enter__()
        return entered

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, trace)

    async def __aenter__(self) -> NoReturn:
        raise TypeError("this engine or sessionmaker is for threads: use `with transaction(...)`")

    async def __aexit__(self, *_: object) -> None:
        """Never entered."""


class AsyncTransaction(Generic[T]):
    """A transaction of a task, used by `async with`, once."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt: Attempt | None = attempt

    async def __aenter__(self) -> T:
        attempt, self._attempt = _unused(self._attempt), None
        self._block = _async_block(attempt)
        entered: T = await self._block.__aenter__()
        return entered

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)

    def __enter__(self) -> NoReturn:
        raise TypeError("this engine or sessionmaker is asynchronous: use `async with transaction(...)`")

    def __exit__(self, *_: object) -> None:
        """Never entered."""


@overload
def transaction(
    target: AsyncEngine, *, isolation: str | None = None
) -> AsyncTransaction[AsyncConnection]: ...
@overload
def transaction(
    target: async_sessionmaker[AsyncSessionT], *, isolation: str | None = None
) -> AsyncTransaction[AsyncSessionT]: ...
@overload
def transaction(target: Engine, *, isolation: str | None = None) -> Transaction[Connection]: ...
@overload
def transaction(target: sessionmaker[SessionT], *, isolation: str | None = None) -> Transaction[SessionT]: ...
def transaction(target: Any, *, isolation: str | None = None) -> Any:
    """A transaction on *target* that is committed at the end of its block, whole or not at all.

    `async with transaction(engine) as tx` gives an AsyncConnection, with an async_sessionmaker an
    AsyncSession; an Engine or sessionmaker gives a Connection or Session by `with`. *isolation* is
    the database's word, such as "SERIALIZABLE". One attempt; `commit()` inside is refused.

    Raises whatever its block raises, `ConcurrentModification` for a stale version, and
    `CommitOutcomeUnknown` when the connection is lost at COMMIT and nobody can tell what became of it.
    """
    library = _library()
    kind = AsyncTransaction if library.is_async(target) else Transaction
    return kind(library.Attempt(target, isolation))


@overload
def run_transaction(
    target: AsyncEngine,
    work: Callable[[AsyncConnection], Awaitable[R]],
    *,
    isolation: str | None = None,
    attempts: int | None = None,
) -> Coroutine[Any, Any, R]: ...
@overload
def run_transaction(
    target: async_sessionmaker[AsyncSessionT],
    work: Callable[[AsyncSessionT], Awaitable[R]],
    *,
    isolation: str | None = None,
    attempts: int | None = None,
) -> Coroutine[Any, Any, R]: ...
@overload
def run_transaction(
    target: Engine,
    work: Callable[[Connection], R],
    *,
    isolation: str | None = None,
    attempts: int | None = None,
) -> R: ...
@overload
def run_transaction(
    target: sessionmaker[SessionT],
    work: Callable[[SessionT], R],
    *,
    isolation: str | None = None,
    attempts: int | None = None,
) -> R: ...
def run_transaction(
    target: Any, work: Callable[[Any], Any], *, isolation: str | None = None, attempts: int | None = None
) -> Any:
    """The result of *work*, run in a transaction on *target*, and run again when that may help.

    It may: after a serialization failure, a deadlock, a write conflict, a lock not had in time, and
    when the connection is lost before COMMIT. Each attempt has a transaction of its own; so *work*
    must do nothing else that cannot be done twice. *attempts* counts the first (MAX_RETRY_ATTEMPTS
    unless given); there is none past the deadline of the request under way. While the database is
    away it is waited for, as long as a request may, where holdfast serves the application: elsewhere
    nobody watches it.

    Raises what the last attempt raised, with a note on how often it was made, and what
    `transaction` raises. What may have been committed is never run again.
    """
    _refuse_generator(work)
    library = _library()
    course = Course(attempts)
    make: Callable[[], Attempt] = lambda: library.Attempt(target, isolation, course.attempt)  # noqa: E731
    if library.is_async(target):
        return _run_async(make, work, course)
    return _run(make, work, course)


def _library() -> Any:
    """SQLAlchemy's side of it; imported when it is first needed, so that it stays optional."""
    from holdfast.work import sqlalchemy

    return sqlalchemy


# ---- one attempt --------------------------------------------------------------------------------


def _unused(attempt: Attempt | None) -> Attempt:
    if attempt is None:
        raise RuntimeError("this transaction has been used; call transaction() again for another one")
    return attempt


@contextmanager
def _block(attempt: Attempt) -> Iterator[Any]:
    with _marked():
        try:
            with attempt.opened() as made:
                yield made
        except BaseException as error:
            _conclude(attempt, attempt.ended(error), attempt.conflict(error))
            raise


@asynccontextmanager
async def _async_block(attempt: Attempt) -> AsyncIterator[Any]:
    with _marked():
        try:
            async with attempt.opened_async() as made:
                yield made
        except BaseException as error:
            _conclude(attempt, attempt.ended(error), await attempt.conflict_async(error))
            raise


# ---- as often as it takes -----------------------------------------------------------------------


def _run(make: Callable[[], Attempt], work: Callable[[Any], Any], course: Course) -> Any:
    while True:
        attempt = make()
        with _marked():
            try:
                with attempt.opened() as made:
                    result = _settled(work(made))
            except BaseException as error:  # noqa: BLE001 - raised again, unless another attempt is made
                ended = attempt.ended(error)
                try:
                    if not _waited(course, attempt, ended):
                        _conclude(attempt, ended, attempt.conflict(error))
                        raise
                finally:
                    del ended  # or a traceback would hold this frame, which holds it
            else:
                course.succeeded()
                return result


async def _run_async(make: Callable[[], Attempt], work: Callable[[Any], Awaitable[R]], course: Course) -> R:
    while True:
        attempt = make()
        with _marked():
            try:
                async with attempt.opened_async() as made:
                    result = await work(made)
            except BaseException as error:  # noqa: BLE001 - raised again, unless another attempt is made
                ended = attempt.ended(error)
                try:
                    if not await _waited_async(course, attempt, ended):
                        _conclude(attempt, ended, await attempt.conflict_async(error))
                        raise
                finally:
                    del ended  # or a traceback would hold this frame, which holds it
            else:
                course.succeeded()
                return result


def _refuse_generator(work: Any) -> None:
    """Nothing of it would run before its transaction is over. Raises TypeError."""
    if any(
        inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one)
        for one in (work, type(work).__call__)
    ):
        raise TypeError(
            "run_transaction was given a generator function, of which nothing would run before the "
            "transaction is over; give it a function without `yield`"
        )


def _settled(result: Any) -> Any:
    """*result*, unless it is a promise of one: the transaction would be over before its work.

    Raises TypeError then.
    """
    if isinstance(result, CoroutineType):
        result.close()
        raise TypeError(
            "run_transaction was given an `async def` with an engine or sessionmaker for threads; "
            "give it an AsyncEngine or async_sessionmaker, or a plain function"
        )
    return result


def _waited(course: Course, attempt: Attempt, ended: Ended) -> bool:
    """Pause before the next attempt; False when there is none.

    In a thread that runs a loop nothing is waited for: all that the loop serves would wait too.
    """
    database = attempt.database
    pause = course.pause_after(ended, database)
    if pause is None:
        return False
    began = monotonic()
    waits = not on_a_loop()
    settled = database is None or database.settled
    if not settled and database is not None:
        settled = waits and database.wait_settled(course.patience(database))
    if not settled:
        course.note(ended.error, AWAY)
        return False
    if waits:
        time.sleep(max(0.0, pause - (monotonic() - began)))
    course.again(attempt.name, ended.error, monotonic() - began)
    return True


async def _waited_async(course: Course, attempt: Attempt, ended: Ended) -> bool:
    """The same for a task."""
    database = attempt.database
    pause = course.pause_after(ended, database)
    if pause is None:
        return False
    began = monotonic()
    settled = database is None or database.settled
    if not settled and database is not None:
        settled = await database.until_settled(course.patience(database))
    if not settled:
        course.note(ended.error, AWAY)
        return False
    await asyncio.sleep(max(0.0, pause - (monotonic() - began)))
    course.again(attempt.name, ended.error, monotonic() - began)
    return True


# ---- how it ended -------------------------------------------------------------------------------


@contextmanager
def _marked() -> Iterator[None]:
    """Mark what is committed meanwhile: by the request's own marker, else by one for this attempt."""
    request = REQUEST.get()
    if request is not None and request.marker is not None:
        yield
        return
    marker = Marker(secrets.token_hex(32))
    before = MARKER.get()
    MARKER.set(marker)
    try:
        yield
    finally:
        MARKER.set(before)


def _conclude(attempt: Attempt, ended: Ended, conflict: ConcurrentModification | None) -> None:
    """Tell how *attempt* ended, the last one; raises what says it better than its own error, if anything."""
    error = ended.error
    try:
        if ended.end is Commit.ROLLED_BACK:
            _tell_rolled_back(attempt, error)
            if conflict is not None:
                raise conflict from error
        elif ended.end is Commit.COMMITTED:
            error.add_note("transaction: it was committed before this was raised")
        elif isinstance(error, Exception):
            _tell_doubt(attempt, error)
            raise CommitOutcomeUnknown(attempt.name) from error
        else:
            _tell_doubt(attempt, error)
            error.add_note("transaction: interrupted at COMMIT; whether it was committed is not known")
    finally:
        del error, ended, conflict  # or a traceback would hold this frame, which holds it


def _tell_rolled_back(attempt: Attempt, error: BaseException) -> None:
    if attempt.began:
        operations = attempt.operations()
        BUS.publish(TransactionRolledBack(database=attempt.name, operations=operations, cause=said(error)))


def _tell_doubt(attempt: Attempt, error: BaseException) -> None:
    """Where no hook has told it."""
    if attempt.database is None:
        request = REQUEST.get()
        request_id = None if request is None else request.id
        BUS.publish(CommitInDoubt(database=attempt.name, request_id=request_id, cause=said(error)))
