"""The journal of one machine: an SQLite file that many processes share, written by one thread each.

The thread owns the connection. It takes all that waits for it, does it in one transaction, commits
once (one sync of the disk for all), and only then settles the futures.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.events import BUS, Bus
from holdfast.work.entry import Backlog, Entry, Holder, New, Outcome, State
from holdfast.work.journal import JournalError
from holdfast.work.journal_sqlite_faults import is_busy, translated
from holdfast.work.journal_sqlite_opening import Opened, make_folder, opened
from holdfast.work.journal_sqlite_steps import PRUNED_AT_ONCE, Steps
from holdfast.work.sealing import Seal

T = TypeVar("T")

FILE: Final = "journal.sqlite3"
BATCH: Final = 1000  # calls in one transaction
PATIENCE_S: Final = 10.0  # for another process's transaction
CLOSE_S: Final = 15.0


def open_sqlite(
    folder: Path, *, max_bytes: int, seal: Seal | None = None, bus: Bus = BUS, clock: Clock = SYSTEM_CLOCK
) -> SqliteJournal:
    """The journal in *folder*, which is made (0700) if it is not there.

    Raises JournalUnusableError: a newer version, not a journal, no right to write, another key.
    """
    make_folder(folder)
    return SqliteJournal(folder / FILE, max_bytes=max_bytes, seal=seal, bus=bus, clock=clock)


class _Call:
    """One call that waits for the thread; `result` or `error` once its step was taken."""

    __slots__ = ("error", "future", "result", "step", "writes")

    def __init__(self, step: Callable[[], Any], writes: bool) -> None:
        self.future: Future[Any] = Future()
        self.step = step
        self.writes = writes
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever asked."""
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _LostError(Exception):
    """SQLite has rolled back the whole transaction: nothing of it has happened."""


class SqliteJournal:
    """A `Journal` in the SQLite file *path*; at most *max_bytes* of requests and answers.

    Raises JournalUnusableError as `open_sqlite` does. A damaged file is replaced by what can be read
    of it, kept beside it, and told as `JournalDamaged`. After a fork it has to be opened anew.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        seal: Seal | None = None,
        bus: Bus = BUS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.place = str(path)
        self._path = path
        self._opened: Opened = opened(path, seal, bus, clock)
        self._connection = self._opened.connection
        self._steps = Steps(self._connection, path, max_bytes, self._opened.rows)
        self._dice = random.Random()
        self._pid = os.getpid()
        self._closed = False
        self._lock = threading.Lock()  # so that nothing is queued behind the end
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="holdfast-journal", daemon=True)
        self._thread.start()

    # ---- what is asked, from any thread ---------------------------------------------------------

    def accept(self, new: New) -> Future[int]:
        """As `Journal.accept`."""
        return self._put(lambda: self._steps.accept(new))

    def lease(self, most: int, holder: Holder, until: float, now: float) -> Future[list[Entry]]:
        """As `Journal.lease`."""
        return self._put(lambda: self._steps.lease(most, holder, until, now))

    def renew(self, numbers: Sequence[int], holder: Holder, until: float) -> Future[list[int]]:
        """As `Journal.renew`. A lease that ran out is renewed too, as long as nobody else was given it."""
        return self._put(lambda: self._steps.renew(numbers, holder, until))

    def finish(self, number: int, holder: Holder, outcome: Outcome, now: float) -> Future[bool]:
        """As `Journal.finish`. A lease that ran out at *now* is held no more."""
        return self._put(lambda: self._steps.finish(number, holder, outcome, now))

    def find(self, name: str) -> Future[Entry | None]:
        """As `Journal.find`."""
        return self._put(lambda: self._steps.find(name), writes=False)

    def backlog(self) -> Future[Backlog]:
        """As `Journal.backlog`; `by_state` has all states."""
        return self._put(self._steps.backlog, writes=False)

    def listed(self, state: State | None, most: int, after: int = 0) -> Future[list[Entry]]:
        """As `Journal.listed`."""
        return self._put(lambda: self._steps.listed(state, most, after), writes=False)

    def entry(self, number: int) -> Future[Entry | None]:
        """As `Journal.entry`."""
        return self._put(lambda: self._steps.entry(number), writes=False)

    def retry(self, number: int) -> Future[bool]:
        """As `Journal.retry`. It takes its old place in its order, once what runs of that is over."""
        return self._put(lambda: self._steps.retry(number))

    def drop(self, number: int) -> Future[bool]:
        """As `Journal.drop`."""
        return self._put(lambda: self._steps.drop(number))

    def prune(self, before: float) -> Future[int]:
        """As `Journal.prune`; in several transactions, so that nobody waits long behind it."""
        whole: Future[int] = Future()
        whole.set_running_or_notify_cancel()
        self._prune_on(whole, before, 0)
        return whole

    def close(self) -> None:
        """Finish what was asked and let go. Raises JournalError when that takes over `CLOSE_S` seconds."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if self._pid != os.getpid():
            return
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise JournalError(f"the journal {self.place} could not be closed within {CLOSE_S:g} s")

    def _put(self, step: Callable[[], T], *, writes: bool = True) -> Future[T]:
        call = _Call(step, writes)
        if self._pid != os.getpid():
            call.error = JournalError(
                f"the journal {self.place} was opened before a fork; open it in the child"
            )
        with self._lock:
            if self._closed and call.error is None:
                call.error = JournalError(f"the journal {self.place} is closed")
            # Asked now: once it is queued, its error is the thread's to tell.
            refused = call.error is not None
            if not refused:
                self._queue.put(call)
        if refused:
            call.settle()
        return call.future

    def _prune_on(self, whole: Future[int], before: float, so_far: int) -> None:
        def goes_on(part: Future[int]) -> None:
            error = part.exception()
            if error is not None:
                whole.set_exception(error)
            elif part.result() < PRUNED_AT_ONCE:
                whole.set_result(so_far + part.result())
            else:
                self._prune_on(whole, before, so_far + part.result())

        self._put(lambda: self._steps.prune(before)).add_done_callback(goes_on)

    # ---- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            ended = False
            while not ended:
                calls, ended = self._waiting()
                wanted = [call for call in calls if call.future.set_running_or_notify_cancel()]
                if wanted:
                    self._do(wanted)
                self._give_room_back()
        finally:
            self._opened.close()
            self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        """Whatever ended the thread, nobody waits for it."""
        with self._lock:
            self._closed = True
        while not self._queue.empty():
            call = self._queue.get()
            if call is not None and call.future.set_running_or_notify_cancel():
                call.error = JournalError(f"the journal {self.place} is closed")
                call.settle()

    def _waiting(self) -> tuple[list[_Call], bool]:
        """All that waits, at least one; and whether it is the end."""
        calls: list[_Call] = []
        call = self._queue.get()
        while call is not None:
            calls.append(call)
            if len(calls) >= BATCH:
                return calls, False
            try:
                call = self._queue.get_nowait()
            except Empty:
                return calls, False
        return calls, True

    def _do(self, calls: list[_Call]) -> None:
        """Do *calls* in one transaction; each in one of its own when that is lost."""
        try:
            self._transact(calls)
        except Exception as error:  # noqa: BLE001 - whoever asked is told
            self._roll_back()
            if len(calls) > 1 and isinstance(error, (_LostError, sqlite3.Error)):
                for call in calls:
                    self._do([call])
                return
            cause = error.__cause__ if isinstance(error, _LostError) else error
            for call in calls:
                call.error = translated(cause or error, self._path)
        for call in calls:
            if not call.future.done():
                call.settle()

    def _transact(self, calls: list[_Call]) -> None:
        self._opened.make_sure_it_is_there()
        self._begin(any(call.writes for call in calls))
        for call in calls:
            self._take(call)
        self._connection.execute("COMMIT")

    def _take(self, call: _Call) -> None:
        """Take one step; what it changed is undone when it raises. Raises _LostError: all is undone."""
        execute = self._connection.execute
        call.result = call.error = None
        if call.writes:
            execute("SAVEPOINT step")
        try:
            call.result = call.step()
        except Exception as error:
            if not self._connection.in_transaction:
                raise _LostError from error
            call.error = translated(error, self._path)
            if call.writes:
                execute("ROLLBACK TO step")
        if call.writes:
            execute("RELEASE step")

    def _begin(self, writing: bool) -> None:
        """Begin, in our turn. We ask often: SQLite's own waiting, of up to 0.1 s, starves beside the busy."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > give_up_at:
                    raise
                time.sleep(self._dice.uniform(0.000_2, 0.001))
            else:
                return

    def _give_room_back(self) -> None:
        """Let the file shrink, a little at a time, while nobody waits."""
        try:
            while self._queue.empty() and (pages := self._steps.spare()):
                # a script, for `execute` takes one step only of a statement whose rows have no columns
                self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
        except sqlite3.Error:
            self._roll_back()  # the file stays as large as it is until the next time; no entry is concerned

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
