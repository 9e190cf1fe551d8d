"""The request under way, and its ledger: what one attempt sent and what failed.

The owner of a `Ledger` is the attempt it belongs to; the drivers' hooks write it, from whatever
thread or task carries the attempt's context. All writes are single attribute stores.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any

from holdfast.policy.replay import SAFE_METHODS, Commit, Known, may_run_again, worst

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.faults.category import Fault


class _Strays:
    """Statements that no request can be charged with: their thread did not carry its context.

    While one is sent, no attempt under way can be sure that it was not its own.
    """

    __slots__ = ("_lock", "count")

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def add(self) -> None:
        """One more was sent."""
        with self._lock:
            self.count += 1


STRAYS = _Strays()


class Marker:
    """Marks the transactions of one unit of work, so that it can be asked later what became of them.

    A row `(key, number)` of the marker table is written in each transaction that writes; those of
    one attempt, side by side or one after the other, have numbers of their own. Its owner is
    whoever set it: the request's key, or `run_transaction`.
    """

    __slots__ = ("_held", "database", "ends", "existed", "fingerprint", "key")

    def __init__(self, key: str, fingerprint: str = "") -> None:
        self.key = key  # hexadecimal
        self.fingerprint = fingerprint
        self.ends: list[Commit] = []  # how each transaction of this attempt ended
        self._held: dict[int, object] = {}  # numbers of this attempt's transactions
        self.existed = False  # the marker was there: an earlier attempt has had its effect
        self.database: str | None = None  # name of the one that was found to hold it

    def take(self) -> int:
        """The lowest number that no transaction of this attempt holds. From any thread."""
        mine, number = object(), 0
        while self._held.setdefault(number, mine) is not mine:
            number += 1
        return number

    def ended(self, number: int, end: Commit) -> None:
        """The transaction of that number has ended; what was rolled back leaves its number to others."""
        self.ends.append(end)
        if end is Commit.ROLLED_BACK:
            self.release(number)

    def release(self, number: int) -> None:
        """Nothing was committed under *number*."""
        self._held.pop(number, None)

    def again(self) -> None:
        """Another attempt begins."""
        self._held.clear()
        self.ends.clear()
        self.existed = False


class Ledger:
    """What one attempt at a request sent to databases, and what became of it."""

    __slots__ = (
        "attempts",
        "crowded",
        "databases",
        "ending",
        "error",
        "failed_at",
        "fault",
        "lost",
        "open_writes",
        "pending",
        "read_only",
        "refused",
        "sent",
        "settled",
        "strays",
        "unsaved",
        "unseen",
    )

    def __init__(self) -> None:
        self.strays = STRAYS.count
        self.sent = 0  # statements handed to a driver
        self.attempts = 0  # statements or connections really tried: a refusal at the door is none
        self.pending = 0  # COMMITs on their way
        self.ending = 0  # transactions about to be committed: their marker is on its way
        self.open_writes = 0  # transactions that wrote and have not ended
        self.settled = Commit.NONE  # the worst end of a transaction that wrote
        self.fault: Fault | None = None  # the latest transient failure
        self.error: BaseException | None = None  # the exception it was read from
        self.failed_at = 0  # how many statements had been sent then
        self.refused: BaseException | None = None  # why its latest COMMIT was refused
        self.unseen = False  # something was done past us, and may have written
        self.unsaved: list[Callable[[], bool]] = []  # of each session it uses: is something unsent?
        self.lost: str | None = None  # name of the database whose connection was lost
        self.read_only: str | None = None  # name of the database that takes no writes for a while
        self.crowded: str | None = None  # name of the database whose pool had no connection for it
        self.databases: set[str] = set()  # names of the databases it asked for

    @property
    def commit(self) -> Commit:
        """What is known of the attempt's writes."""
        return worst(self.settled, Commit.SENT) if self.pending else self.settled

    def fail(self, fault: Fault, error: BaseException) -> None:
        """Something failed that may pass."""
        self.fault, self.error, self.failed_at = fault, error, self.sent

    @property
    def writing(self) -> bool:
        """Whether something that it wrote, or is about to write, is not committed yet."""
        return self.open_writes > 0 or any(unsaved() for unsaved in self.unsaved)

    @property
    def overcome(self) -> bool:
        """Whether the application has gone on after the latest failure: what it answers is about that."""
        return self.sent > self.failed_at

    def settle(self, commit: Commit) -> None:
        """A transaction that wrote has ended so."""
        self.settled = worst(self.settled, commit)


class Request:
    """One unit of work: what stays the same however often it is attempted."""

    __slots__ = (
        "abandoned",
        "arrived_at",
        "attempt",
        "body_whole",
        "client",
        "deadline_at",
        "headers",
        "held_for",
        "id",
        "key",
        "key_flaw",
        "kind",
        "ledger",
        "marker",
        "method",
        "path",
        "patience_s",
        "started",
        "timeout_s",
        "user_id",
        "waited_out",
        "withheld",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 - the word everyone uses
        method: str,
        path: str,
        arrived_at: float,
        deadline_at: float,
        key: str | None = None,
        kind: str = "http",
    ) -> None:
        self.id = id
        self.kind = kind
        self.method = method
        self.path = path
        self.arrived_at = arrived_at  # monotonic
        self.deadline_at = deadline_at  # monotonic
        self.timeout_s = 0.0  # what was allowed in all
        self.key = key
        self.patience_s: float | None = None  # how long it waits at most, where it is not the rule
        self.key_flaw = ""  # what is wrong with the key that was sent
        self.attempt = 1
        self.held_for = 0.0  # seconds spent waiting for a database, all attempts together
        self.started = False  # a byte of the answer left
        self.body_whole = True  # what was read of the body is kept and can be given again
        self.abandoned = False  # the client has left
        self.waited_out = False  # it has used up its waiting time
        self.withheld = False  # something that it logged is kept until it is known how it ends
        self.user_id: str | None = None
        self.client: str | None = None
        self.headers: Any = ()  # raw ASGI headers, read only when something has to be told
        self.marker: Marker | None = None  # of a keyed request whose key is kept
        self.ledger = Ledger()

    @property
    def safe(self) -> bool:
        """Whether the method is safe in the sense of RFC 9110."""
        return self.method in SAFE_METHODS

    @property
    def commit(self) -> Commit:
        """How what it wrote has ended, as far as anybody can know."""
        ledger = self.ledger
        unseen = ledger.unseen and not self.safe
        return worst(ledger.commit, Commit.UNKNOWN) if unseen else ledger.commit

    @property
    def lost_its_writes(self) -> bool:
        """Whether the last that it did was to lose all it had written: no answer of its own can
        acknowledge anything."""
        ledger = self.ledger
        lost = ledger.fault is not None and not ledger.overcome and not self.safe
        return lost and ledger.commit in (Commit.ROLLED_BACK, Commit.UNKNOWN)

    def may_run_again(self, *, body_kept: bool = False) -> bool:
        """Whether this request could be run again if its attempt failed now.

        *body_kept*: somebody has all of its body, however long it is.
        """
        if self.kind != "http":
            return False
        ledger = self.ledger
        stray = ledger.strays != STRAYS.count and not self.safe
        return may_run_again(
            Known(
                safe=self.safe,
                keyed=self.key is not None,
                sent=ledger.sent > 0 or stray,
                commit=worst(ledger.commit, Commit.UNKNOWN) if stray else self.commit,
                started=self.started,
                body_whole=self.body_whole or body_kept,
            )
        )


REQUEST: ContextVar[Request | None] = ContextVar("holdfast_request", default=None)
MARKER: ContextVar[Marker | None] = ContextVar("holdfast_marker", default=None)
"""What marks the transactions of a `run_transaction`; where there is none, the request's does."""
