"""An entry of the journal, and the one table of what may become of it. Pure.

Whoever stores entries, SQLite or Redis, stores these; the decisions stand in `after_answer` and
`after_failure`. Moments are seconds since the epoch: entries outlive processes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum

KEEP_S = 86400.0
LEASE_S = 15.0
_TURNS = frozenset({408, 425, 429})  # answers that a later attempt may get otherwise


class State(Enum):
    """Where an entry stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class New:
    """A request to be journaled, exactly as it was sent."""

    name: str  # `name_of` the operation's id
    key: str  # under which its effect happens once
    order: str  # entries of the same order run one after the other
    method: str
    target: str  # raw path and query, as bytes would be on the wire (latin-1)
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    client: str | None
    journaled_at: float

    @property
    def size(self) -> int:
        """Bytes it counts for in the bound of the journal."""
        return len(self.body) + len(self.target) + sum(len(a) + len(b) for a, b in self.headers) + 256


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application answered."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who runs it: an incarnation of a worker. `host` and `pid` with `started_at` name its process."""

    incarnation: str
    host: str
    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is stored."""

    number: int  # in order of acceptance, unique
    new: New
    state: State = State.PENDING
    attempts: int = 0  # that failed otherwise than by the database's absence
    interruptions: int = 0  # leases in a row that ended with their holder, not with the run
    not_before: float = 0.0
    leased_until: float = 0.0
    holder: Holder | None = None
    answer: Answer | None = None
    cause: str = ""  # of the latest failure, redacted
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: pending and running entries."""

    entries: int = 0
    stored_bytes: int = 0  # of everything in the journal: what its bound is on
    oldest_at: float | None = None
    by_state: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a running entry."""

    state: State
    answer: Answer | None = None
    attempts: int = 0
    cause: str = ""
    delay_s: float = 0.0  # before it may be leased again
    interruptions: int = 0


def name_of(operation_id: str) -> str:
    """What the journal knows an operation by: nobody can ask for it who was not given the id."""
    return hashlib.sha256(operation_id.encode()).hexdigest()


def after_answer(entry: Entry, answer: Answer, most: int, delay_s: float) -> Outcome:
    """The application has answered; *most* attempts in all, *delay_s* before the next."""
    status = answer.status
    if status < 400:
        return Outcome(State.DONE, answer, entry.attempts)
    if status < 500 and status not in _TURNS:
        return Outcome(State.FAILED, answer, entry.attempts, f"answered {status}")
    return after_failure(entry, f"answered {status}", most, delay_s, answer)


def after_failure(
    entry: Entry, cause: str, most: int, delay_s: float, answer: Answer | None = None
) -> Outcome:
    """The attempt failed for a reason of its own."""
    attempts = entry.attempts + 1
    if attempts >= most:
        return Outcome(State.DEAD, answer, attempts, cause)
    return Outcome(State.PENDING, None, attempts, cause, delay_s)


def after_absence(entry: Entry, delay_s: float) -> Outcome:
    """The database was away again, or we are stopping: that is nobody's fault and costs no attempt."""
    return Outcome(State.PENDING, None, entry.attempts, entry.cause, delay_s)


def given_back(entry: Entry) -> Outcome:
    """It was leased and not run: all is as it was."""
    return Outcome(State.PENDING, None, entry.attempts, entry.cause, 0.0, entry.interruptions)
