"""The marker table in the database of one SQLAlchemy engine: made, written, asked, read.

usable   the table is there                          markers are written and asked for
unknown  nobody has needed it yet, or it is away      it is looked for by the first who does
off      no right to make it, or a marker failed      as without a table, and one warning
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from holdfast.context import Marker
from holdfast.databases.adopt import MarkerRules
from holdfast.databases.markers import PRUNE_AT_ONCE, Row, Statements, Written, asked, found, spoils, written
from holdfast.databases.sqlalchemy_numbers import Numbered, ask
from holdfast.databases.sqlalchemy_session import OwnSession
from holdfast.events import BUS, MarkersOff
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.policy.replay import Commit

if TYPE_CHECKING:
    from holdfast.databases.sqlalchemy_hooks import Hooks

BACKENDS = ("postgresql", "sqlite")
PRUNE_EVERY_S = 600.0
_KEEP_WITHIN_S = 10.0
_HELD_UP_S = 1.0  # how long the question may wait for whoever holds the marker, before that one is ended
# Processes that make it at once: all but one are told of a duplicate, of whatever they came to first.
_MADE_BY_ANOTHER = ("23505", "42P07", "42710")
_BLOCKERS = "SELECT pg_terminate_backend(pid) FROM unnest(pg_blocking_pids({pid})) AS pid"


class MarkerTable:
    """The table, and who asks it. One for each engine; its statements run on sessions of our own."""

    def __init__(self, hooks: Hooks, rules: MarkerRules) -> None:
        self.rules = rules
        self.usable = False
        self.off = not rules.active or not possible(hooks)
        self.askable = hooks.engine.url.get_backend_name() == "postgresql"
        self._hooks = hooks
        self._statements = self._in(rules.schema)
        self._sessions: tuple[OwnSession, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._preparing: asyncio.Lock | None = None
        self._pruned_at = -PRUNE_EVERY_S  # due at once, on a machine that has just started too

    @property
    def mark(self) -> str:
        """The statement that writes a marker: key, number and fingerprint."""
        return self._statements.mark

    def turn_off(self, cause: str) -> None:
        """No markers here from now on."""
        if not self.off:
            self.off, self.usable = True, False
            BUS.publish(MarkersOff(database=self._hooks.database.name, cause=cause))

    # ---- for the server's loop ------------------------------------------------------------------

    async def look(self, keys: list[str]) -> dict[str, Row]:
        """What is kept under *keys*; raises what the driver raises when the database is lost."""
        return found(await self._own(0).read(self._statements.look, asked(keys)))

    async def keep(self, answers: list[Written]) -> None:
        """Write down *answers*; those that are there stay. Now and then forgets what is too old."""
        session = self._own(1)  # not the one that is asked: this may wait for a lock
        await session.run_within(_KEEP_WITHIN_S, self._statements.keep, written(answers))
        if monotonic() - self._pruned_at > PRUNE_EVERY_S:
            forgotten = PRUNE_AT_ONCE
            while forgotten >= PRUNE_AT_ONCE:
                self._pruned_at = monotonic()
                _, forgotten = await session.run_within(_KEEP_WITHIN_S, self._statements.prune)

    def ask_afresh(self) -> None:
        """What is asked next is asked on fresh connections."""
        for session in self._sessions:
            session.stale = True

    async def close(self) -> None:
        """Let go of the connections."""
        sessions, self._sessions = self._sessions, ()
        for session in sessions:
            await session.close()

    def _own(self, number: int) -> OwnSession:
        loop = asyncio.get_running_loop()
        if not self._sessions or self._loop is not loop:
            self._loop = loop
            self._sessions = (OwnSession(self._hooks), OwnSession(self._hooks))
        return self._sessions[number]

    # ---- for the watch's loop -------------------------------------------------------------------

    async def prepare(self) -> bool:
        """Whether it is there, made if need be.

        Raises what the driver raises when that says nothing against the table: the database is
        lost, or had no time for it.
        """
        if self._preparing is None:
            self._preparing = asyncio.Lock()
        async with self._preparing:
            if not self.usable and not self.off:
                session = OwnSession(self._hooks)
                try:
                    await self._make(session)
                except Exception as error:
                    if not self.spoilt_by(error):
                        raise
                    self.turn_off(said(error))
                finally:
                    await session.close()
        return self.usable

    async def ask(self, marker: Marker, number: int) -> Commit:
        """What became of the COMMIT that carried *number* of *marker*; raises what the driver raises.

        The very marker is inserted and taken back: that waits for whoever holds it.
        """
        asking, ending = OwnSession(self._hooks, once=True), OwnSession(self._hooks)
        try:
            await asking.run("BEGIN")
            pid = (await asking.run("SELECT pg_backend_pid()"))[0][0][0]
            inserting = asyncio.ensure_future(
                asking.run(self._statements.mark, (marker.key, number, marker.fingerprint))
            )
            while not (await asyncio.wait([inserting], timeout=_HELD_UP_S))[0]:
                await ending.run(_BLOCKERS.format(pid=int(pid)))
            _, inserted = inserting.result()
            await asking.run("ROLLBACK")
        except BaseException:
            asking.abort()  # it may be waiting for a lock
            raise
        finally:
            await asking.close()
            await ending.close()
        return Commit.ROLLED_BACK if inserted else Commit.COMMITTED

    async def ask_number(self, numbered: Numbered) -> Commit:
        """What became of the transaction of that number, as far as the server can know."""
        session = OwnSession(self._hooks)
        try:
            return await ask(session, numbered)
        finally:
            await session.close()

    async def _make(self, session: OwnSession) -> None:
        schema = self.rules.schema
        if schema is None and self._statements.where is not None:
            # Named in full from now on: an application may lead unqualified names elsewhere.
            rows, _ = await session.run(self._statements.where)
            self._statements = self._in(rows[0][0])
        try:
            await session.run(self._statements.exists)
        except Exception as error:
            if not self.spoilt_by(error):
                raise
            for statement in self._statements.create:
                await self._create(session, statement)
        self.usable = True

    async def _create(self, session: OwnSession, statement: str) -> None:
        try:
            await session.run(statement)
        except Exception as error:
            if classify(error, database=True).code not in _MADE_BY_ANOTHER:
                raise
            await session.run(statement)  # now it exists

    def _in(self, schema: str | None) -> Statements:
        dialect = self._hooks.engine.dialect
        return Statements(self._hooks.engine.url.get_backend_name(), dialect.paramstyle, schema)

    def spoilt_by(self, error: Exception) -> bool:
        """Whether *error* says that the table cannot be used: it is not there, or not for us."""
        fault = classify(error, database=True)
        return not (fault.lost or fault.transient) and spoils(fault.code, said(error))


def possible(hooks: Hooks) -> bool:
    """Whether a table there can be seen from other connections, in a tongue we speak."""
    url = hooks.engine.url
    backend = url.get_backend_name()
    if backend == "sqlite":
        return url.database not in (None, "", ":memory:") and "mode=memory" not in str(url)
    return backend in BACKENDS
