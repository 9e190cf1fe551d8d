"""A connection of our own to the database of an SQLAlchemy engine, for a few statements of ours.

It is made by the application's own recipe and linked like any other, so that the watch ends it
when the database falls silent; it belongs to no pool and no request. Each statement is a
transaction of its own, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import greenlet_spawn

from holdfast.databases.link import LOOK_AFTER_S, Link
from holdfast.databases.sqlalchemy_driver import LIBRARIES, OURS

if TYPE_CHECKING:
    from holdfast.databases.sqlalchemy_hooks import Hooks


class OwnSession:
    """One connection; whoever comes waits for whoever talks.

    It is opened with the first statement, and again after a loss; with *once* it is not, for a
    transaction begun on it must not go on elsewhere.
    """

    def __init__(self, hooks: Hooks, *, once: bool = False) -> None:
        self._hooks = hooks
        self._dialect = hooks.engine.dialect
        self._once = once
        self._opened = False
        self.stale = False  # what is asked next is asked on a fresh connection
        self._connection: Any = None
        self._talking = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None
        library = LIBRARIES.get(self._dialect.driver) if self._dialect.is_async else None
        self._fetch = getattr(library, "fetch", None)

    async def run(self, statement: str, parameters: tuple[Any, ...] = ()) -> tuple[list[Any], int]:
        """The rows, and how many were touched; raises what the driver raises."""
        async with self._talking:
            result: tuple[list[Any], int] = await self._somewhere(self._run, statement, parameters)
        return result

    async def read(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        """The rows of one that never waits for anybody's lock; raises what the driver raises.

        Unanswered by a living server, its connection is taken for dead and ended by the watch, as
        with a ping.
        """
        async with self._talking:
            if self._fetch is None:
                rows, _ = await self._somewhere(self._run, statement, parameters, True)
                return list(rows)
            if self._usable() is None:
                await self._somewhere(self._open)
            with self._outstanding(brief=True):
                read: list[Any] = await self._fetch(self._connection.driver_connection, statement, parameters)
                return read

    async def run_within(
        self, seconds: float, statement: str, parameters: tuple[Any, ...] = ()
    ) -> tuple[list[Any], int]:
        """The same; after so many seconds the connection is ended, and that is what is raised."""
        running = asyncio.ensure_future(self.run(statement, parameters))
        if not (await asyncio.wait([running], timeout=seconds))[0]:
            self.abort()
        return await running

    def abort(self) -> None:
        """End the connection at once; whoever waits for a statement on it gets an error."""
        link = None if self._connection is None else self._hooks.link(self._connection)
        if link is not None:
            link.abort()

    async def close(self) -> None:
        """End it, without waiting for the other side. Cancelled or not, it is ended.

        Whoever still talks on it gets an error, and lets go first: psycopg would use what it has freed.
        """
        link = None if self._connection is None else self._hooks.link(self._connection)
        if link is not None and link.began:
            link.abort()
        if self._dialect.is_async:
            async with self._talking:
                with contextlib.suppress(Exception):
                    await greenlet_spawn(self._end)
        elif self._thread is not None:
            thread, self._thread = self._thread, None
            ended = asyncio.wrap_future(thread.submit(self._end))  # after what it is doing
            thread.shutdown(wait=False)
            await asyncio.shield(ended)

    async def _somewhere(self, function: Any, *args: Any) -> Any:
        if self._dialect.is_async:
            return await greenlet_spawn(function, *args)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-keys")
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # ---- in a greenlet, or in our thread --------------------------------------------------------

    def _run(self, statement: str, parameters: tuple[Any, ...], brief: bool = False) -> tuple[list[Any], int]:
        if self._usable() is None:
            self._open()
        with self._outstanding(brief=brief):
            return _executed(self._connection, statement, parameters)

    def _usable(self) -> Link | None:
        """What is known of the connection, if there is one that can be used. One of before the database
        went, or moved, may lead to a server that knows nothing of the latest."""
        link = None if self._connection is None else self._hooks.link(self._connection)
        if link is not None and not self._once:
            self.stale = self.stale or link.generation != self._hooks.database.generation
            if self.stale:
                return None
        if link is None or link.cut or (monotonic() - link.used_at > LOOK_AFTER_S and link.is_gone()):
            return None
        return link

    @contextlib.contextmanager
    def _outstanding(self, *, brief: bool) -> Iterator[None]:
        """While a statement is on its way, for the watch to see; one that fails ends the connection."""
        link = self._hooks.link(self._connection)
        assert link is not None
        link.pinging = brief
        link.began = monotonic()
        try:
            yield
        except BaseException:
            self._end()
            raise
        finally:
            link.began, link.pinging = 0.0, False
            link.used_at = monotonic()
        self._hooks.database.heard_at = monotonic()

    def _open(self) -> None:
        self._end()
        self.stale = False
        if self._once and self._opened:
            message = "the connection was lost between two statements"
            raise ConnectionResetError(message)
        if self._hooks.database.away:  # who asks waits where waiting is counted, and its client watched
            raise self._hooks.connecting.away(None)
        self._opened = True
        token = OURS.set(True)
        try:
            self._connection = self._hooks.driver.create()
        finally:
            OURS.reset(token)
        link = self._hooks.link(self._connection) or self._hooks.connecting.welcome(self._connection)
        link.idle_limit = 0.0  # no surplus of the pool's
        try:
            self._dialect.set_isolation_level(self._connection, "AUTOCOMMIT")
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(Exception):
            if self._dialect.is_async and hasattr(connection, "terminate"):
                self._dialect.do_terminate(connection)
            else:
                self._dialect.do_close(connection)


def _executed(connection: Any, statement: str, parameters: tuple[Any, ...]) -> tuple[list[Any], int]:
    cursor = connection.cursor()
    try:
        cursor.execute(statement, parameters)
        rows = list(cursor.fetchall()) if cursor.description else []
        return rows, cursor.rowcount
    finally:
        cursor.close()
