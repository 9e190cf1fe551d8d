"""COMMIT: marked before it is sent, and asked about when its answer is lost.

    there is a marker for it     a row is written in the transaction; one that was there before means
                                 that an earlier attempt had its effect: rolled back, `AlreadyApplied`
    COMMIT is answered           committed, or rolled back with the driver's error
    its connection is lost       with a marker, or a number that was noted: wait for the database and
                                 ask it; found: returns as if answered; absent: the driver's error
    it commits by itself         put into a transaction of ours, where it has a key and changes rows
    it cannot be asked           unknown: the driver's error, and nobody runs it again

`docs/decisions/0007` has the whole table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy.util import await_only

from holdfast.context import MARKER, Marker, Request
from holdfast.databases.adopt import REGISTRY
from holdfast.databases.link import Link
from holdfast.databases.reading import changes_rows
from holdfast.databases.sqlalchemy_again import replace
from holdfast.databases.sqlalchemy_driver import touched
from holdfast.databases.sqlalchemy_markers import MarkerTable
from holdfast.databases.sqlalchemy_numbers import NUMBER, Numbered
from holdfast.events import BUS, CommitInDoubt, CommitResolved
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.policy.replay import Commit

if TYPE_CHECKING:
    from holdfast.databases.sqlalchemy_hooks import Hooks

_LAST_MOMENT_S = 0.5  # before a request's deadline: time for an answer
_PATIENCE_S = 30.0  # outside of requests

UNMARKED = Fault(category=Category.DATABASE_QUERY, status=503, transient=True, outcome=Outcome.NOT_APPLIED)


class AlreadyAppliedError(Exception):
    """The work of this key is in the database already: this attempt was rolled back."""


@dataclass(frozen=True, slots=True)
class Marked:
    """One transaction's marker: its row is `(marker.key, number)`."""

    marker: Marker
    number: int


class Commits:
    """What stands in for `do_commit` of one engine's dialect."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._database = hooks.database
        self.table = MarkerTable(hooks, REGISTRY.markers)

    def seen(self, original: Callable[..., Any], *, marked: bool) -> Callable[..., Any]:
        """*original*, wrapped. A transaction in two phases cannot be *marked*."""
        hooks = self._hooks

        def commit(connection: Any, *args: Any, **kwargs: Any) -> None:
            link = hooks.link(connection)
            if link is None:
                original(connection, *args, **kwargs)
                return
            if not link.wrote:
                self._send(link, lambda: original(connection, *args, **kwargs))
                return
            ledger = link.ledger
            if ledger is not None:
                ledger.ending += 1
            try:
                noted, number = self._noted(link, connection) if marked else (None, None)
                self.sent(link)
            finally:
                if ledger is not None:
                    ledger.ending -= 1
            self._commit(link, connection, lambda: original(connection, *args, **kwargs), noted, number)

        return commit

    def frames(self, link: Link, statement: str) -> bool:
        """Whether a write that commits by itself is put into a transaction of ours, to be marked."""
        if _in_force(link) is None or not self.table.askable or self.table.off:
            return False
        return changes_rows(statement)

    def framed(self, link: Link, connection: Any, write: Callable[[], None]) -> None:
        """Do *write*, which would have committed by itself, with its marker; raises what the driver does."""
        plain = partial(touched, self._hooks.engine.dialect, connection)
        try:
            link.began = monotonic()
            plain("BEGIN")
            write()
            marked = self._marked(link, connection)
        except BaseException as error:
            self._hooks.failed(link, error)
            with contextlib.suppress(Exception):  # a lost one needs none
                plain("ROLLBACK")
            self._settle(link, Commit.ROLLED_BACK, None)
            raise
        finally:
            link.began = 0.0
        self._commit(link, connection, lambda: plain("COMMIT"), marked, None)

    def sent(self, link: Link) -> None:
        """COMMIT, or a write that commits by itself, is on its way."""
        link.unsendable = link.is_gone()
        link.committing = True
        if link.ledger is not None:
            link.ledger.pending += 1

    def ended(self, link: Link, error: BaseException | None) -> None:
        """A write that commits by itself has ended: well, refused, or nobody knows."""
        end = self._end(link, error)
        if end is Commit.UNKNOWN and error is not None:
            self._doubted(link, error)
        self._settle(link, end, None)

    def _end(self, link: Link, error: BaseException | None) -> Commit:
        if error is None:
            return Commit.COMMITTED
        if link.unsendable:  # nobody was there to be told
            return Commit.ROLLED_BACK
        if not isinstance(error, Exception) or link.cut or _in_doubt(error):
            return Commit.UNKNOWN
        return Commit.ROLLED_BACK

    def _commit(
        self,
        link: Link,
        connection: Any,
        commit: Callable[[], object],
        marked: Marked | None,
        numbered: Numbered | None,
    ) -> None:
        link.noted = self.table.askable and (marked is not None or numbered is not None)
        try:
            self._send(link, commit)
        except BaseException as error:
            end = self._end(link, error)
            if end is Commit.UNKNOWN:
                question = self._question(marked, numbered) if link.noted else None
                end = self._resolved(link, error, question) if question else self._doubted(link, error)
            if end is Commit.ROLLED_BACK and link.ledger is not None:
                link.ledger.refused = error
            self._settle(link, end, marked)
            if end is Commit.COMMITTED:
                with contextlib.suppress(Exception):  # then whoever uses it next is told
                    replace(connection, error, self._hooks.engine.dialect)
                return
            self._hooks.failed(link, error)
            raise
        self._settle(link, Commit.COMMITTED, marked)

    def _send(self, link: Link, commit: Callable[[], object]) -> None:
        link.began = monotonic()
        try:
            commit()
        except BaseException as error:
            if not link.wrote:
                self._hooks.failed(link, error)
            raise
        finally:
            link.began = 0.0
        link.sent = 0
        self._database.heard_at = monotonic()

    def _settle(self, link: Link, end: Commit, marked: Marked | None) -> None:
        link.committing = link.noted = False
        if link.ledger is not None:
            link.ledger.settle(end)
            link.ledger.pending -= 1
        if link.ends is not None:
            link.ends.append(end)
        in_force = MARKER.get() if marked is None else None
        if marked is not None:
            marked.marker.ended(marked.number, end)
            if end is Commit.COMMITTED and marked.marker.database is None:
                marked.marker.database = self._database.name
        elif in_force is not None:
            in_force.ends.append(end)
        self._hooks.forget_writes(link)

    # ---- before it is sent ----------------------------------------------------------------------

    def _noted(self, link: Link, connection: Any) -> tuple[Marked | None, Numbered | None]:
        """The marker or the number of this transaction. Whatever is raised here has rolled it back:
        SQLAlchemy takes a COMMIT that raised for the end of its transaction."""
        try:
            marked = self._marked(link, connection)
            return marked, (self._numbered(link, connection) if marked is None else None)
        except BaseException:
            if link.ends is not None:
                link.ends.append(Commit.ROLLED_BACK)
            with contextlib.suppress(Exception):  # a lost one needs none
                self._hooks.engine.dialect.do_rollback(connection)
            in_force = _in_force(link)
            if in_force is not None:
                in_force.ends.append(Commit.ROLLED_BACK)
            raise

    def _marked(self, link: Link, connection: Any) -> Marked | None:
        """Write the marker of this transaction; None when it has none."""
        marker = _in_force(link)
        if marker is None or (marker is MARKER.get() and not self.table.askable):
            return None  # a `run_transaction`'s serves the question alone
        if not (self.table.usable or self._prepared(link)):
            return None
        marked = Marked(marker, marker.take())
        try:
            fresh = self._written(link, connection, marked)
        except BaseException as error:
            marker.release(marked.number)
            if isinstance(error, Exception):
                self._not_marked(link, error)
            raise
        if not fresh:
            marker.release(marked.number)
            self._applied_before(link, marker)
        return marked

    def _written(self, link: Link, connection: Any, marked: Marked) -> bool:
        """Insert it; False when it is there already. Raises what the driver raises."""
        marker = marked.marker
        row = (marker.key, marked.number, marker.fingerprint)
        try:
            link.began = monotonic()
            return touched(self._hooks.engine.dialect, connection, self.table.mark, row) != 0
        finally:
            link.began = 0.0

    def _applied_before(self, link: Link, marker: Marker) -> NoReturn:
        marker.existed, marker.database = True, self._database.name
        applied = AlreadyAppliedError(f"the work of key {marker.key[:8]}… was applied before")
        if link.ledger is not None:
            link.ledger.fail(UNMARKED, applied)
        raise applied

    def _prepared(self, link: Link) -> bool:
        """The first who needs the table makes it, beside its own transaction.

        Not in SQLite, which has one writer at a time: that transaction.
        """
        watch = REGISTRY.watch
        if self.table.off or watch is None or not self.table.askable:
            return False
        try:
            return bool(self._wait(watch.ask(self.table.prepare()), _PATIENCE_S))
        except Exception as error:  # noqa: BLE001 - then this one goes without, as ever before
            self._hooks.failed(link, error)
            return False

    def _not_marked(self, link: Link, error: Exception) -> None:
        """Nothing was committed. Whatever is wrong with the table must not fail the next attempt."""
        self._hooks.failed(link, error)
        if link.cut or not self.table.spoilt_by(error):
            return
        self.table.turn_off(said(error))
        if link.ledger is not None:
            link.ledger.fail(UNMARKED, error)

    def _numbered(self, link: Link, connection: Any) -> Numbered | None:
        """The transaction's number, where commits without a marker are asked about by it."""
        if not self.table.rules.commit_status or not self.table.askable:
            return None
        cursor = connection.cursor()
        try:
            link.began = monotonic()
            cursor.execute(NUMBER)
            number, server = cursor.fetchone()
            return None if number is None else Numbered(number, server)
        finally:
            link.began = 0.0
            cursor.close()

    # ---- when its answer is lost ----------------------------------------------------------------

    def _resolved(
        self, link: Link, error: BaseException, question: Callable[[], Coroutine[Any, Any, Commit]]
    ) -> Commit:
        """What the database says became of it; UNKNOWN when it cannot be asked in time."""
        if not isinstance(error, Exception):  # cancelled: nobody waits for the answer any more
            return self._doubted(link, error)
        if not link.cut:
            self._database.broken(said(error))
        request = link.request
        began = monotonic()
        end, why = self._asked(question, request)
        if end is Commit.UNKNOWN:
            return self._doubted(link, error, why)
        link.abort()  # what is left of it serves nobody
        BUS.publish(
            CommitResolved(
                database=self._database.name,
                request_id=None if request is None else request.id,
                outcome=end.value,
                took_s=round(monotonic() - began, 3),
            )
        )
        return end

    def _question(
        self, marked: Marked | None, numbered: Numbered | None
    ) -> Callable[[], Coroutine[Any, Any, Commit]]:
        table = self.table
        if marked is None:
            assert numbered is not None
            return lambda: table.ask_number(numbered)
        return lambda: table.ask(marked.marker, marked.number)

    def _asked(
        self, question: Callable[[], Coroutine[Any, Any, Commit]], request: Request | None
    ) -> tuple[Commit, str]:
        """The answer, or UNKNOWN and why there is none."""
        why = "the database did not come back in time"
        give_up_at = monotonic() + self._patience(request)
        while (left := give_up_at - monotonic()) > 0:
            watch = REGISTRY.watch
            if watch is None or not self._hooks.connecting.settles_within(left):
                break
            try:
                return self._wait(watch.ask(question()), give_up_at - monotonic()), ""
            except Exception as error:  # noqa: BLE001 - whatever a driver raises: it did not say
                why = said(error)
                if not classify(error, database=True).lost:
                    break
                self._database.broken(why)
        return Commit.UNKNOWN, why

    def _patience(self, request: Request | None) -> float:
        """Seconds: as long as a request may wait in all, and in time for an answer."""
        if request is None or request.kind != "http" or request.started:
            return _PATIENCE_S
        left = request.deadline_at - _LAST_MOMENT_S - monotonic()
        most = self._database.patience_s if request.patience_s is None else request.patience_s
        return left if most is None else min(left, most - request.held_for)

    def _wait(self, asking: Any, timeout: float) -> Any:
        if self._hooks.engine.dialect.is_async:
            return await_only(asyncio.wait_for(asyncio.wrap_future(asking), timeout))
        try:
            return asking.result(timeout)
        finally:
            asking.cancel()

    def _doubted(self, link: Link, error: BaseException, why: str = "") -> Commit:
        request = link.request
        cause = said(error)
        BUS.publish(
            CommitInDoubt(
                database=self._database.name,
                request_id=None if request is None else request.id,
                cause=f"{cause}; asked in vain: {why}" if why else cause,
            )
        )
        return Commit.UNKNOWN


def _in_force(link: Link) -> Marker | None:
    """The marker of the work that *link* is used for: of a `run_transaction`, else of the request."""
    marker = MARKER.get()
    if marker is None and link.request is not None:
        marker = link.request.marker
    return marker


def _in_doubt(error: Exception) -> bool:
    """Whether *error*, met at COMMIT, leaves open what became of it."""
    return classify(error, database=True).outcome is Outcome.UNKNOWN
