"""A connection of our own to the database of an SQLAlchemy engine, for a few statements of ours.

It is made by the application's own recipe and linked like any other, so that the watch ends it
when the database falls silent; it belongs to no pool and no request. Each statement is a
transaction of its own, unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import greenlet_spawn

from holdfast.databases.sqlalchemy_driver import OURS

if TYPE_CHECKING:
    from holdfast.databases.sqlalchemy_hooks import Hooks


class OwnSession:
    """One connection, used by one task at a time. Opened with the first statement, and after a loss.

    With *once* it is not opened again after a loss: a transaction begun on it must not go on elsewhere.
    """

    def __init__(self, hooks: Hooks, setup: str | None = None, *, once: bool = False) -> None:
        self._hooks = hooks
        self._dialect = hooks.engine.dialect
        self._setup = setup
        self._once = once
        self._opened = False
        self._connection: Any = None
        self._thread: ThreadPoolExecutor | None = None

    async def run(
        self, statement: str, parameters: tuple[Any, ...] = (), *, brief: bool = False
    ) -> tuple[list[Any], int]:
        """The rows, and how many were touched; raises what the driver raises.

        A *brief* one never waits for anybody's lock: unanswered by a living server, its connection
        is taken for dead and ended by the watch, as with a ping.
        """
        result: tuple[list[Any], int] = await self._somewhere(self._run, statement, parameters, brief)
        return result

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
        """End it, without waiting for the other side."""
        try:
            with contextlib.suppress(Exception):
                await self._somewhere(self._end)
        finally:
            if not self._dialect.is_async:
                self._end()  # cancelled before its turn came
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _somewhere(self, function: Any, *args: Any) -> Any:
        if self._dialect.is_async:
            return await greenlet_spawn(function, *args)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="holdfast-keys")
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # ---- in a greenlet, or in our thread --------------------------------------------------------

    def _run(self, statement: str, parameters: tuple[Any, ...], brief: bool) -> tuple[list[Any], int]:
        hooks = self._hooks
        link = None if self._connection is None else hooks.link(self._connection)
        if link is None or link.is_gone():
            self._end()
            if self._once and self._opened:
                message = "the connection was lost between two statements"
                raise ConnectionResetError(message)
            link = self._open()
        link.pinging = brief
        link.began = monotonic()
        try:
            rows, touched = _executed(self._connection, statement, parameters)
        except BaseException:
            self._end()
            raise
        finally:
            link.began, link.pinging = 0.0, False
            link.used_at = monotonic()
        hooks.database.heard_at = monotonic()
        return rows, touched

    def _open(self) -> Any:
        if self._hooks.database.away:  # who asks waits where waiting is counted, and its client watched
            raise self._hooks.connecting.away(None)
        self._opened = True
        token = OURS.set(True)
        try:
            self._connection = self._hooks.driver.create()
        finally:
            OURS.reset(token)
        link = self._hooks.link(self._connection)
        assert link is not None
        link.idle_limit = 0.0  # no surplus of the pool's
        try:
            self._dialect.set_isolation_level(self._connection, "AUTOCOMMIT")
            if self._setup is not None:
                _executed(self._connection, self._setup, ())
        except BaseException:
            self._end()
            raise
        return link

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
