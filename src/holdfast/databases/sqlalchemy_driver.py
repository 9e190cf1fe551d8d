"""How the watch reaches the database of an SQLAlchemy engine: knock, log in, ping, pool figures."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import await_only, greenlet_spawn

from holdfast.databases import asyncpg, psycopg
from holdfast.databases.wire import knock_postgresql

PROBING: ContextVar[bool] = ContextVar("holdfast_probing", default=False)
OURS: ContextVar[bool] = ContextVar("holdfast_ours", default=False)  # a connection for our own statements
LIBRARIES: dict[str, Any] = {"asyncpg": asyncpg, "psycopg": psycopg}
PORTS = {"postgresql": 5432}
# Of our own role and database: behind a pooler, the number is not that of a process of the server.
_WAITING = """SELECT pid, CAST(extract(epoch FROM clock_timestamp() - state_change) AS float8)
 FROM pg_stat_activity WHERE pid = ANY(CAST('{{{}}}' AS int[])) AND (state LIKE 'idle{}'
 OR wait_event = 'ClientRead' AND NOT query ~* '\\mcopy\\M')
 AND usename = current_user AND datname = current_database()"""
_BESIDE: set[asyncio.Future[Any]] = set()
_CLOSE_S = 1.0  # to wait for the end of a connection: it comes at once, or whenever it comes


class EngineDriver:
    """The `Driver` of one engine. Its connections are made by the application's own recipe.

    The first engine of a database is held, for the watch; of further ones nothing keeps the
    application from dropping them (`let_go`).
    """

    library = "sqlalchemy"

    def __init__(self, engine: Engine, told: Mapping[str, Any] | None = None) -> None:
        self._held: Engine | None = engine
        self._known = weakref.ref(engine)
        self._told = told or {}  # what its driver is told of the server
        self.provisional = False  # it stands in for the application's own, which is to come
        self.idle_limit = 0.0  # seconds, when the pool is as we made it
        self.acquiring: set[object] = set()  # callers who are asking the pool for a connection
        self.networked = engine.url.get_backend_name() != "sqlite"

    @property
    def _engine(self) -> Engine:
        engine = self._known()
        if engine is None:
            message = "the engine was dropped by its application"
            raise ConnectionAbortedError(message)
        return engine

    def let_go(self, forgotten: Callable[[], None]) -> None:
        """Hold the engine no more; *forgotten* is called when it is gone."""
        engine, self._held = self._held, None
        if engine is not None:
            weakref.finalize(engine, forgotten).atexit = False

    @property
    def can_knock(self) -> bool:
        """Whether we know one address of it, and its tongue."""
        told = self._told
        host, port = told.get("host"), told.get("port") or 0
        one_host = isinstance(host, str) and host and not {",", "/"} & set(host) and str(port).isdigit()
        elsewhere = any(told.get(name) for name in ("hostaddr", "service", "dsn"))
        return bool(self._engine.url.get_backend_name() in PORTS and one_host and not elsewhere)

    async def knock(self) -> None:
        """One byte from the server; nothing where we cannot."""
        if self.can_knock:
            port = self._told.get("port") or PORTS[self._engine.url.get_backend_name()]
            await knock_postgresql(str(self._told["host"]), int(port))

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
        engine = self._known()
        pool: Any = None if engine is None else engine.pool
        if not isinstance(pool, QueuePool) or pool.checkedin():
            return False
        overflow = int(pool._max_overflow)  # below 0: without bound
        return overflow >= 0 and pool.checkedout() >= pool.size() + overflow

    def crowded(self) -> bool:
        """Whether so many threads wait for the pool that one more might take the last that could run
        what gives a connection back: applications of threads hold one from thread to thread."""
        engine = self._known()
        if engine is None or engine.dialect.is_async or not self.exhausted():
            return False
        pool: Any = engine.pool
        most = int(pool.size() + pool._max_overflow)
        return len(self.acquiring) > max(1, most // 2)

    def pool(self) -> dict[str, int]:
        """The pool's figures; a pool without any (NullPool, StaticPool) has none."""
        engine = self._known()
        pool: Any = None if engine is None else engine.pool
        if not hasattr(pool, "checkedin"):
            return {}
        idle, active = pool.checkedin(), pool.checkedout()
        most = pool.size() + max(0, getattr(pool, "_max_overflow", 0))
        waiting = len(self.acquiring)
        return {"size": idle + active, "idle": idle, "active": active, "waiting": waiting, "max": most}


class EngineSession:
    """A connection of the watch's own, made through an engine's dialect."""

    def __init__(self, dialect: Any, connection: Any) -> None:
        self._dialect = dialect
        self._connection = connection
        self._asking: asyncio.Future[Any] | None = None  # the task that talks on it,
        self._talking = threading.Lock()  # or the thread

    async def ping(self) -> None:
        """One round trip; raises what the driver raises."""
        alive = await self._asked(partial(self._dialect.do_ping, self._connection))
        if not alive:  # SQLAlchemy before 2.1 says so instead of raising
            message = "the connection is dead"
            raise ConnectionResetError(message)

    async def _asked(self, question: Callable[[], Any]) -> Any:
        """Put *question* in a thread or a task beside: cancelled in silence, psycopg would talk to the
        server for seconds before it gave up, so the connection is ended under it instead."""
        if not self._dialect.is_async:
            return await in_thread(partial(self._alone, question))
        asking = self._asking = asyncio.ensure_future(greenlet_spawn(question))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._abort(asking)
            _beside(asking)
            raise

    def _alone(self, question: Callable[[], Any]) -> Any:
        with self._talking:
            return question()

    def _abort(self, asking: asyncio.Future[Any] | None = None) -> None:
        """Whoever talks on it gets an error at once."""
        library = LIBRARIES.get(self._dialect.driver)
        if library is not None:
            library.aborter(getattr(self._connection, "driver_connection", self._connection))()
        elif asking is not None:
            asking.cancel()

    async def takes_writes(self) -> bool:
        """Whether a transaction may write, where a server could refuse it."""
        if self._dialect.name != "postgresql":
            return True
        ((read_only,),) = await self._asked(partial(self._rows, "SHOW transaction_read_only"))
        return bool(read_only == "off")

    async def waiting(self, backends: Iterable[int]) -> dict[int, float]:
        """Which of the server's processes wait for their client, and for how many seconds."""
        if self._dialect.name != "postgresql":
            return {}
        percent = "%%" if self._dialect.paramstyle == "pyformat" else "%"
        statement = _WAITING.format(", ".join(str(int(one)) for one in backends), percent)
        rows = await self._asked(partial(self._rows, statement))
        return {int(pid): float(seconds) for pid, seconds in rows}

    def _rows(self, statement: str) -> list[Any]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, ())
            return list(cursor.fetchall())
        finally:
            cursor.close()
            self._dialect.do_rollback(self._connection)

    async def close(self) -> None:
        """End it, without waiting for the other side.

        Whoever still talks on it has to let go first: psycopg would use what it has freed.
        """
        end = self._end() if self._dialect.is_async else in_thread(self._end_in_thread)
        ending = asyncio.ensure_future(end)
        _beside(ending)
        await asyncio.wait([ending], timeout=_CLOSE_S)

    async def _end(self) -> None:
        asking = self._asking
        if asking is not None and not asking.done():
            self._abort(asking)
            await asyncio.wait([asking])
        driver = self._connection.driver_connection
        terminate = getattr(driver, "terminate", None)
        await (_now(terminate) if terminate else driver.close())

    def _end_in_thread(self) -> None:
        self._abort()
        with self._talking:
            self._dialect.do_close(self._connection)


def _beside(task: asyncio.Future[Any]) -> None:
    """Nobody waits for *task*: that it fails is no news."""
    _BESIDE.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Future[Any]) -> None:
    _BESIDE.discard(task)
    if not task.cancelled():
        task.exception()


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
    adapter = connection.dbapi_connection
    translate = getattr(adapter, "_handle_exception", None)
    if execute is not None and translate is not None:
        try:
            return int(await_only(execute(adapter.driver_connection, statement, parameters)))
        except Exception as error:
            translate(error)  # raises the adapter's word for it
            raise
    cursor = connection.cursor()
    try:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)
    finally:
        cursor.close()
