"""What happens to work that outlives one attempt: transactions, keys, journaled requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from holdfast.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReplayed(Event):
    """A request was given the first answer to its key, and was not run."""

    name = "answer_replayed"
    level = "info"
    request_id: str
    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersNotKept(Event):
    """Answers to keyed requests could not be written beside their markers; the effects are safe."""

    name = "answers_not_kept"
    level = "warning"
    database: str
    answers: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestJournaled(Event):
    """A request was written to the journal and answered with 202."""

    name = "request_journaled"
    level = "debug"
    request_id: str
    method: str
    path: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRefused(Event):
    """The journal could not take a request, which was refused as without a journal."""

    name = "journal_refused"
    level = "error"
    request_id: str
    place: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFailing(Event):
    """The journal cannot be read or written at the moment; it is tried again."""

    name = "journal_failing"
    level = "error"
    place: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalDamaged(Event):
    """A damaged journal was found: what could be read was carried over, the old file is kept."""

    name = "journal_damaged"
    level = "critical"
    place: str
    kept_at: str
    carried_over: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalUnmarked(Event):
    """What runs from the journal commit is not marked: one that is cut off then happens twice."""

    name = "journal_unmarked"
    level = "warning"
    place: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalInaccessible(Event):
    """This user has no right to a journal that no route needs any more: what waits in it is not run."""

    name = "journal_inaccessible"
    level = "warning"
    place: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFinished(Event):
    """A journaled request has come to an end: done."""

    name = "entry_finished"
    level = "debug"
    number: int
    method: str
    path: str
    state: str
    status: int | None
    attempts: int
    waited_s: float
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFailed(EntryFinished):
    """A journaled request has come to another end than done: somebody has to look at it."""

    name = "entry_failed"
    level = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryDeferred(Event):
    """An attempt at a journaled request failed; there will be another."""

    name = "entry_deferred"
    level = "warning"
    number: int
    attempts: int
    delay_s: float
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalDrained(Event):
    """Nothing is waiting in the journal any more."""

    name = "journal_drained"
    level = "info"
    place: str
    entries: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRetried(Event):
    """A transaction failed for a reason that passes, and is run again from its beginning."""

    name = "transaction_retried"
    level = "info"
    database: str
    attempt: int
    delay_s: float
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionRolledBack(Event):
    """A transaction ended with an error, and left nothing."""

    name = "transaction_rolled_back"
    level = "warning"
    database: str
    operations: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionConflict(Event):
    """A row was changed by somebody else meanwhile: both versions, redacted."""

    name = "version_conflict"
    level = "warning"
    table: str
    identity: str
    ours: dict[str, Any] = field(compare=False)
    theirs: dict[str, Any] | None = field(compare=False)
