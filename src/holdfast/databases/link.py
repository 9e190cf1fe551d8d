"""One connection, seen from its hooks: what runs on it, since when, and for whom.

Its owner is the task or thread that has checked it out; the monitor only reads, and cuts.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.context import Ledger, Request
    from holdfast.policy.replay import Commit

LOOK_AFTER_S = 0.01  # the kernel is not asked about one in use a moment ago: that costs a turn
_GRACE_S = 0.3  # for a loop that was busy: to send, and to hand over what was answered
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)


@dataclass(frozen=True, slots=True)
class Opening:
    """A connection that somebody waits for since a moment. `end` ends the wait, from any thread."""

    since: float
    end: Callable[[], None]
    login: bool = True  # it is being opened; else it is hoped for, from an exhausted pool


class Link:
    """A connection of a pool to a database.

    `began` is the monotonic moment at which the outstanding statement was sent, 0.0 when none is;
    `used_at` that of its last use. `generation` is the database's at the time it was opened.
    """

    __slots__ = (
        "_abort",
        "_cancel",
        "_fileno",
        "backend",
        "began",
        "blocks",
        "committing",
        "connection",
        "cut",
        "driver",
        "ends",
        "generation",
        "idle_limit",
        "ledger",
        "loop",
        "noted",
        "out",
        "pinging",
        "reads_first",
        "request",
        "seen",
        "sent",
        "unsendable",
        "used_at",
        "wrote",
    )

    def __init__(
        self,
        connection: object,
        generation: int,
        now: float,
        abort: Callable[[], None],
        fileno: Callable[[], int] | None,
        *,
        blocks: bool = False,
        cancel: Callable[[], None] | None = None,
    ) -> None:
        self.connection = connection  # as the library's pool knows it
        self.generation = generation
        self.used_at = now
        self.driver: object = None  # whose pool it belongs to
        self.backend = 0  # number of the server's process on the other side; 0: not known
        self.loop: asyncio.AbstractEventLoop | None = None  # of whoever waits on it; None: a thread
        self.idle_limit = 0.0  # seconds unused after which it is surplus; 0: never
        self.began = 0.0
        self.blocks = blocks  # whoever waits on it is a thread, not a task
        self.sent = 0  # statements of the transaction on it
        self.seen = False  # a statement went through us since it was checked out
        self.out = False  # checked out of its pool
        self.cut = False  # we ended it
        self.unsendable = False  # it was closed before the COMMIT that is on its way was sent
        self.committing = False  # COMMIT is on its way
        self.noted = False  # what becomes of that COMMIT can be asked
        self.reads_first = False  # what was sent last only reads, and is the first of its transaction
        self.pinging = False  # what is outstanding is only a ping
        self.wrote = False  # the transaction on it has written
        self.request: Request | None = None
        self.ledger: Ledger | None = None  # of the attempt that wrote
        self.ends: list[Commit] | None = None  # where whoever commits on it looks how that ended
        self._abort = abort
        self._fileno = fileno
        self._cancel = cancel

    def cancel(self) -> None:
        """Have the server end the statement that blocks a thread; the connection lives on if it can.

        From any thread, at once: asking the server happens in a thread of its own. A COMMIT is
        never cancelled; what a task waits for is cancelled with the task.
        """
        if self._cancel is None or not self.began or self.committing:
            return
        threading.Thread(target=self._cancel_or_abort, name="holdfast-cancel", daemon=True).start()

    def _cancel_or_abort(self) -> None:
        assert self._cancel is not None
        try:
            self._cancel()
        except Exception:  # noqa: BLE001 - whatever a driver raises: it could not be asked
            self.abort()

    def abort(self) -> None:
        """End the connection at once: whoever waits on it gets an error. From any thread."""
        if not self.cut:
            self.cut = True
            self._abort()

    def abort_unless_answered(self, began: float, tell: Callable[[], None]) -> None:
        """End it, and *tell*, unless what was sent at *began* is answered after all. From any thread.

        A loop that was busy may have sent it late, or have the answer in hand: it gets a moment.
        """
        loop = self.loop
        if loop is None:
            self._abort_unless_answered(began, tell)
            return
        with contextlib.suppress(RuntimeError):  # its loop has ended, and so has whoever waited
            loop.call_soon_threadsafe(loop.call_later, _GRACE_S, self._abort_unless_answered, began, tell)

    def _abort_unless_answered(self, began: float, tell: Callable[[], None]) -> None:
        if self.began == began and not self.cut and not self.has_bytes():
            self.abort()
            tell()

    def is_gone(self) -> bool:
        """Whether the other side has closed it, as far as the kernel knows: no round trip."""
        return self.cut or bool(self._polled() & _GONE)

    def has_bytes(self) -> bool:
        """Whether something has arrived that nobody has read yet."""
        return bool(self._polled() & select.POLLIN)

    def _polled(self) -> int:
        if self._fileno is None:
            return 0
        fd = self._fileno()
        if fd < 0:
            return select.POLLNVAL
        poll = select.poll()
        poll.register(fd, select.POLLIN | _GONE)
        seen = poll.poll(0)
        return seen[0][1] if seen else 0

    def may_be_cut(self) -> bool:
        """Whether ending what runs on it loses nothing: a request that can be run again, a COMMIT
        whose outcome can be asked, a ping, or nothing of the application's. What serves no request (a job, a
        thread of its own) nobody runs again."""
        if self.committing:
            return self.noted
        if self.pinging:
            return True
        if self.request is None:
            return not self.out
        return self.request.may_run_again()
