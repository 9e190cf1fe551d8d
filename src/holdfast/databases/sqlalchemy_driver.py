"""How the watch reaches the database of an SQLAlchemy engine: knock, log in, ping, pool figures."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import await_only, greenlet_spawn

from holdfast.databases import asyncpg, psycopg
from holdfast.databases.wire import knock_postgresql

PROBING: ContextVar[bool] = ContextVar("holdfast_probing", default=False)
OURS: ContextVar[bool] = ContextVar("holdfast_ours", default=False)  # a connection for our own statements
LIBRARIES: dict[str, Any] = {"asyncpg": asyncpg, "psycopg": psycopg}
_PORTS = {"postgresql": 5432}
_ENDING: set[asyncio.Future[Any]] = set()


class EngineDriver:
    """The `Driver` of one engine. Its connections are made by the application's own recipe."""

    library = "sqlalchemy"

    def __init__(self, engine: Engine, *, provisional: bool = False) -> None:
        self._engine = engine
        self.provisional = provisional
        self.idle_limit = 0.0  # seconds, when the pool is as we made it
        self.acquiring = 0  # callers who are asking the pool for a connection
        self.networked = engine.url.get_backend_name() != "sqlite"

    @property
    def can_knock(self) -> bool:
        """Whether we know one address of it, and its tongue."""
        url = self._engine.url
        one_host = isinstance(url.host, str) and "," not in url.host and not url.query.get("host")
        return url.get_backend_name() in _PORTS and one_host

    async def knock(self) -> None:
        """One byte from the server; nothing where we cannot."""
        url = self._engine.url
        if self.can_knock:
            await knock_postgresql(str(url.host), url.port or _PORTS[url.get_backend_name()])

    async def open(self) -> EngineSession:
        """Log in as the application would: its creator, its listeners, its connect arguments."""
        PROBING.set(True)
        dialect = self._engine.dialect
        create = self.create
        if dialect.is_async:
            connection = await greenlet_spawn(create)
        else:
            connection = await in_thread(create, undo=dialect.do_close)
        return EngineSession(dialect, connection)

    def create(self) -> Any:
        """A connection by the application's own recipe."""
        pool = self._engine.pool
        create = getattr(pool, "_invoke_creator", None)
        if create is not None:
            return create(None)
        args, params = self._engine.dialect.create_connect_args(self._engine.url)
        return self._engine.dialect.connect(*args, **params)

    def exhausted(self) -> bool:
        """Whether whoever asks the pool now has to wait."""
        pool: Any = self._engine.pool
        if not isinstance(pool, QueuePool) or pool.checkedin():
            return False
        most = pool.size() + pool._max_overflow
        return most > 0 and pool.checkedout() >= most

    def pool(self) -> dict[str, int]:
        """The pool's figures; a pool without any (NullPool, StaticPool) has none."""
        pool: Any = self._engine.pool
        if not hasattr(pool, "checkedin"):
            return {}
        idle, active = pool.checkedin(), pool.checkedout()
        most = pool.size() + max(0, getattr(pool, "_max_overflow", 0))
        return {"size": idle + active, "idle": idle, "active": active, "waiting": self.acquiring, "max": most}


class EngineSession:
    """A connection of the watch's own, made through an engine's dialect."""

    def __init__(self, dialect: Any, connection: Any) -> None:
        self._dialect = dialect
        self._connection = connection

    async def ping(self) -> None:
        """One round trip; raises what the driver raises."""
        if self._dialect.is_async:
            alive = await self._ping_in_task()
        else:
            alive = await in_thread(lambda: self._dialect.do_ping(self._connection))
        if not alive:  # SQLAlchemy before 2.1 says so instead of raising
            message = "the connection is dead"
            raise ConnectionResetError(message)

    async def _ping_in_task(self) -> Any:
        """Ping in a task beside: cancelled in silence, psycopg would talk to the server for seconds
        before it gave up, so the connection is ended under it instead."""
        pinging = asyncio.ensure_future(greenlet_spawn(self._dialect.do_ping, self._connection))
        try:
            return await asyncio.shield(pinging)
        except asyncio.CancelledError:
            library = LIBRARIES.get(self._dialect.driver)
            if library is None:
                pinging.cancel()
            else:
                library.aborter(self._connection.driver_connection)()
            _ENDING.add(pinging)
            pinging.add_done_callback(_ended)
            raise

    async def close(self) -> None:
        """End it, without waiting for the other side, nor for a ping that is still out."""
        with contextlib.suppress(Exception):
            if self._dialect.is_async:
                driver = self._connection.driver_connection
                terminate = getattr(driver, "terminate", None)
                await (_now(terminate) if terminate else driver.close())
            else:
                await in_thread(self._end)

    def _end(self) -> None:
        library = LIBRARIES.get(self._dialect.driver)
        if library is not None:
            library.aborter(self._connection)()  # a thread that pings on it would not see it closed
        self._dialect.do_close(self._connection)


def _ended(pinging: asyncio.Future[Any]) -> None:
    _ENDING.discard(pinging)
    if not pinging.cancelled():
        pinging.exception()  # looked at: that it failed is what we wanted


async def _now(function: Callable[[], None]) -> None:
    function()


async def in_thread(function: Callable[[], Any], undo: Callable[[Any], None] | None = None) -> Any:
    """Run *function* in a thread that nobody has to wait for; a result that nobody waits for is undone."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    outcome: list[tuple[Any, BaseException | None]] = []
    handing = threading.Lock()
    left = False
    probing = PROBING.get()

    def undone() -> None:
        for value, error in outcome:
            if error is None and undo is not None:
                _quietly(undo, value)

    def run() -> None:
        PROBING.set(probing)
        try:
            value, error = function(), None
        except BaseException as raised:  # noqa: BLE001 - handed to whoever awaits
            value, error = None, raised
        with handing:
            outcome.append((value, error))
            late = left
        if late:
            undone()
            return
        with contextlib.suppress(RuntimeError):  # its loop has ended: whoever awaited leaves, and undoes it
            loop.call_soon_threadsafe(_wake, done)

    threading.Thread(target=run, name="holdfast-probe", daemon=True).start()
    try:
        await done
    except BaseException:
        with handing:
            left = True
            came = bool(outcome)
        if came:
            threading.Thread(target=undone, name="holdfast-probe", daemon=True).start()
        raise
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _quietly(undo: Callable[[Any], None], value: Any) -> None:
    with contextlib.suppress(Exception):
        undo(value)


def touched(dialect: Any, connection: Any, statement: str, parameters: tuple[Any, ...] = ()) -> int:
    """Send *statement* on a connection of the pool; how many rows it touched.

    Past SQLAlchemy's adapter where the library can do it with less work; what it raises is
    translated into what SQLAlchemy expects all the same.
    """
    execute = getattr(LIBRARIES.get(dialect.driver), "execute", None) if dialect.is_async else None
    translate = getattr(connection.dbapi_connection, "_handle_exception", None)
    if execute is not None and translate is not None:
        try:
            return int(await_only(execute(connection.driver_connection, statement, parameters)))
        except Exception as error:
            translate(error)  # raises the adapter's word for it
            raise
    cursor = connection.cursor()
    try:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
    finally:
        cursor.close()
