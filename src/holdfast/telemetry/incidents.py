"""Log records of an outage: kept back until it is known whether the user ever saw the failure.

A record of level warning or above, or with an exception, that is logged inside an attempt whose
ledger bears a transient fault is kept. `forget` drops it when the attempt is replayed, `release`
lets it through when the answer begins to leave, or the request ends without one. What is let
through, and the noise that libraries make while a database is down, goes through the counter of
`counting`: in full once, then counted.

The owner of everything kept is `Incidents`; records arrive from any thread. Whatever goes wrong
in here, the record is logged as if this file did not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.context import REQUEST, Request
from holdfast.events import DatabaseLost, DatabaseRecovered, DatabaseSuspected, Event
from holdfast.faults.category import Category
from holdfast.faults.classify import classify
from holdfast.telemetry.counting import (
    LINE_S,
    Counted,
    Fingerprint,
    Full,
    Quiet,
    Seen,
    Verdict,
    expire,
    settle,
    step,
)

A_REQUEST: Final = 20  # records kept of one request
REQUESTS: Final = 2_000  # requests whose records are kept
KINDS: Final = 500  # failures told apart
KEEP_S: Final = 120.0  # nobody came for these records: no request takes that long
AROUND_S: Final = 5.0  # before a suspicion is confirmed, and after a recovery, the noise is the outage's


class Said(NamedTuple):
    """Something to be logged, and the two ways to log it."""

    fingerprint: Fingerprint
    error: BaseException | None
    full: Callable[[], None]
    counted: Callable[[str], None]  # with a note, without traceback


@dataclass(frozen=True, slots=True)
class Summary:
    """What an outage did not print: records of replayed attempts, and repetitions by kind."""

    forgotten: int
    counted: dict[Fingerprint, int]


class _Kept:
    """The records of one request. Holds the request, so that its id cannot be another's."""

    __slots__ = ("over", "request", "said", "since")

    def __init__(self, request: Request, since: float) -> None:
        self.request = request
        self.since = since
        self.said: list[Said] = []
        self.over = 0


class Incidents:
    """Decides which log records go now, which wait, and which are only counted."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.forgotten = 0  # records dropped because their attempt was replayed
        self.report: Callable[[Fingerprint, int], None] | None = None  # told what `sweep` finds untold
        self._clock = clock
        self._lock = threading.RLock()
        self._seen: dict[Fingerprint, Seen] = {}
        self._kept: dict[int, _Kept] = {}
        self._down: set[str] = set()
        self._around_until = -1.0
        self._sweep_at = 0.0
        self._reported = 0

    def follow(self, event: Event) -> None:
        """Subscriber of the bus: learns when databases are away."""
        match event:
            case DatabaseLost():
                self._down.add(event.database)
            case DatabaseRecovered():
                self._down.discard(event.database)
                self._around_until = self._clock.monotonic() + AROUND_S
            case DatabaseSuspected():
                self._around_until = self._clock.monotonic() + AROUND_S
            case _:
                pass

    @property
    def outage(self) -> bool:
        """Whether any database is away now."""
        return bool(self._down)

    def admit(self, said: Said) -> bool:
        """Whether *said* is to be logged now, as it is; otherwise it is kept or counted here."""
        now = self._clock.monotonic()
        if now >= self._sweep_at:
            self.sweep()
        request = REQUEST.get()
        if request is not None and request.ledger.fault is not None:
            if request.kind == "http" and not request.started and self._keep(request, said, now):
                return False
            return self._told(said)
        if is_loss(said) or ((self._down or now < self._around_until) and is_noise(said)):
            return self._told(said)
        return True

    def forget(self, request: Request) -> None:
        """The attempt is replayed: drop what it logged and count it in `forgotten`."""
        with self._lock:
            kept = self._kept.pop(id(request), None)
            request.withheld = False
            if kept is not None:
                self.forgotten += len(kept.said) + kept.over

    def release(self, request: Request) -> None:
        """The request is answered: let what it logged through the counter."""
        with self._lock:
            kept = self._kept.pop(id(request), None)
            request.withheld = False
        if kept is not None:
            self._let_through(kept)

    def let_go(self) -> None:
        """Nobody will come for what is still kept, nor wait for a count: we are stopping."""
        with self._lock:
            left, self._kept = list(self._kept.values()), {}
        for kept in left:
            self._let_through(kept)
        self._report_untold()

    def count(self, fingerprint: Fingerprint) -> Verdict:
        """How to tell a failure of this kind that has happened now."""
        now = self._clock.monotonic()
        if now >= self._sweep_at:
            self.sweep()
        with self._lock:
            if fingerprint not in self._seen and len(self._seen) >= KINDS:
                fingerprint = fingerprint._replace(error=None, message="(anything else)")
            self._seen[fingerprint], verdict = step(self._seen.get(fingerprint), now)
        return verdict

    def sweep(self) -> None:
        """Let go the records that nobody came for, and report failures that have ceased to happen.

        Done with every record, at most each ten seconds; to be called now and then besides.
        """
        now = self._clock.monotonic()
        with self._lock:
            self._sweep_at = now + LINE_S
            stale = [key for key, kept in self._kept.items() if now - kept.since > KEEP_S]
            left = [self._kept.pop(key) for key in stale]
            seen, untold = expire(self._seen, now)
            if self.report is None:  # `settle` will tell them
                seen |= {key: self._seen[key] for key in untold}
            self._seen = seen
        for kept in left:
            self._let_through(kept)
        if self.report is not None:
            for fingerprint, times in untold.items():
                self.report(fingerprint, times)

    def settle(self) -> Summary:
        """What was not told since the last time this was asked."""
        with self._lock:
            self._seen, untold = settle(self._seen, self._clock.monotonic())
            forgotten, self._reported = self.forgotten - self._reported, self.forgotten
        return Summary(forgotten, untold)

    def _report_untold(self) -> None:
        if self.report is None:
            return
        with self._lock:
            self._seen, untold = settle(self._seen, self._clock.monotonic())
        for fingerprint, times in untold.items():
            self.report(fingerprint, times)

    def _keep(self, request: Request, said: Said, now: float) -> bool:
        with self._lock:
            kept = self._kept.get(id(request))
            if kept is None:
                if len(self._kept) >= REQUESTS:
                    return False
                kept = self._kept[id(request)] = _Kept(request, now)
            request.withheld = True
            if len(kept.said) < A_REQUEST:
                kept.said.append(said)
            else:
                kept.over += 1
        return True

    def _told(self, said: Said) -> bool:
        """Count *said*; whether it is to be logged as it is."""
        match self.count(said.fingerprint):
            case Full(earlier=0):
                return True
            case Full(earlier):
                said.counted(f"{earlier} more times, the last over a minute ago")
                return True
            case Counted(times, within):
                said.counted(f"{times} times in {within:.1f} s")
                return False
            case Quiet():
                return False

    def _let_through(self, kept: _Kept) -> None:
        for said in kept.said:
            if self._told(said):
                said.full()
        if kept.over:
            kept.said[-1].counted(f"and {kept.over} more records of this request")


def is_loss(said: Said) -> bool:
    """Whether this is what a database library says of a lost connection. A request's own is known by its
    ledger; who serves a WebSocket says it outside, and before anybody knows of an outage."""
    if not isinstance(said.error, Exception):
        return False
    fault = classify(said.error)
    return fault.transient and fault.lost and fault.category is Category.DATABASE_CONNECTION


def is_noise(said: Said) -> bool:
    """Whether this is what libraries say of a lost database, outside of any request or inside."""
    name = said.fingerprint.logger
    if name.startswith("sqlalchemy.pool"):
        return True
    if name == "uvicorn.error" and said.fingerprint.message.startswith("Exception in ASGI application"):
        return True
    if said.error is None or not isinstance(said.error, Exception):
        return False
    fault = classify(said.error, database=True)
    return fault.transient and (fault.lost or fault.category is Category.DATABASE_CONNECTION)
