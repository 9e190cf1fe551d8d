"""What happens in holdfast, as values, and the bus that tells it.

Nothing is retried, held, refused, replayed or given up on without one of these. Subscribers are
called in the publisher's thread, so they must be quick and must not block; one that raises is
reported to the last resort and never disturbs the publisher.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. `name` is public: logs and metrics carry it."""

    name = "event"
    level = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeld(Event):
    """A request waits at the door, or for a replay, because a database is away."""

    name = "request_held"
    level = "debug"
    request_id: str
    method: str
    path: str
    database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReplayed(Event):
    """A request is run again after its database failed underneath it."""

    name = "request_replayed"
    level = "debug"
    request_id: str
    method: str
    path: str
    attempt: int
    database: str | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecovered(Event):
    """A request that was held or replayed has been answered by the application."""

    name = "request_recovered"
    level = "debug"
    request_id: str
    method: str
    path: str
    status: int
    attempts: int
    held_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefused(Event):
    """holdfast answered in place of the application."""

    name = "request_refused"
    level = "warning"
    request_id: str
    method: str
    path: str
    status: int
    code: str
    attempts: int
    held_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAbandoned(Event):
    """The client of a held request left; it was dropped and not run."""

    name = "request_abandoned"
    level = "debug"
    request_id: str
    method: str
    path: str
    held_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredEarly(Event):
    """An answer was kept back for its transaction, and left before that had ended: should the database
    fail now, what was acknowledged is lost. The application should commit before it answers."""

    name = "answered_before_commit"
    level = "warning"
    request_id: str
    method: str
    path: str
    status: int
    kept_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterAnswerFailed(Event):
    """The database failed what an application did after its complete answer, which the client has.

    That may be a background task, whose work is lost, or only the closing of a session.
    """

    name = "after_answer_failed"
    level = "warning"
    request_id: str
    method: str
    path: str
    status: int
    category: str
    error: BaseException = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(Event):
    """The application let an exception out. *status* is that of the answer, whoever gave it."""

    name = "request_failed"
    level = "error"
    request_id: str
    method: str
    path: str
    status: int
    category: str
    error: BaseException = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitInDoubt(Event):
    """The connection was lost between COMMIT and its answer."""

    name = "commit_in_doubt"
    level = "error"
    database: str
    request_id: str | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResolved(Event):
    """The database was asked what became of a COMMIT whose answer was lost."""

    name = "commit_resolved"
    level = "info"
    database: str
    request_id: str | None
    outcome: str
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkersOff(Event):
    """Keys cannot be kept in a database, so commits in doubt cannot be resolved there."""

    name = "markers_off"
    level = "warning"
    database: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSentAgain(Event):
    """The first statement of a transaction, which only reads, was sent again on a fresh connection."""

    name = "statement_sent_again"
    level = "debug"
    database: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionGivenUp(Event):
    """A connection on which the living server would never have answered was ended.

    It waits for us since `server_waits_s`, or has let in a later login meanwhile (None).
    """

    name = "connection_given_up"
    level = "warning"
    database: str
    outstanding_s: float
    server_waits_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFound(Event):
    """An engine or client was adopted."""

    name = "database_found"
    level = "debug"
    database: str
    target: str
    library: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSuspected(Event):
    """A connection was lost or fell silent; the database is being probed."""

    name = "database_suspected"
    level = "debug"
    database: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLost(Event):
    """The database is away; requests wait."""

    name = "database_lost"
    level = "error"
    database: str
    target: str
    cause: str
    pool: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class WritesRefused(Event):
    """The database answers and takes no writes; requests that write wait, where they may run again."""

    name = "writes_refused"
    level = "error"
    database: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WritesTaken(Event):
    """The database takes writes again; connections of before are replaced."""

    name = "writes_taken"
    level = "warning"  # as the end of an outage is
    database: str
    target: str
    refused_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectAttempted(Event):
    """A probe of an absent database failed; another follows."""

    name = "reconnect_attempted"
    level = "debug"
    database: str
    target: str
    attempt: int
    cause: str
    next_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseRecovered(Event):
    """The database answers again; the waiting requests go."""

    name = "database_recovered"
    level = "warning"  # whoever was told that it is lost reads this: most loggers begin at warning
    database: str
    target: str
    outage_s: float
    attempts: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectAttempted(Event):
    """An attempt to reach a database at startup failed."""

    name = "connect_attempted"
    level = "warning"
    database: str
    target: str
    attempt: int
    attempts: int
    cause: str
    timeout_s: float
    next_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HookSkipped(Event):
    """A hook could not be set; the application works as without it."""

    name = "hook_skipped"
    level = "warning"
    library: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingIgnored(Event):
    """A variable that the application may have meant for itself was not understood; its default holds."""

    name = "setting_ignored"
    level = "warning"
    variable: str
    cause: str
    otherwise: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(Event):
    """A circuit breaker moved to another state."""

    name = "breaker_changed"
    level = "warning"
    breaker: str
    state: str
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """A guarded call failed and will be attempted again."""

    name = "retry_scheduled"
    level = "info"
    guard: str
    attempt: int
    delay_s: float
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished(Event):
    """A phase of startup has ended well."""

    name = "phase_finished"
    level = "info"
    phase: str
    duration_ms: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopStep(Event):
    """A step of shutdown has ended."""

    name = "stop_step"
    level = "info"
    step: str
    duration_ms: float
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UncaughtError(Event):
    """An exception that nobody caught, outside any request."""

    name = "uncaught_error"
    level = "error"
    where: str
    error: BaseException = field(compare=False)
    context: dict[str, Any] = field(default_factory=dict, compare=False)


Subscriber = Callable[[Event], None]


class Bus:
    """Tells events to whoever subscribed, in order of subscription."""

    __slots__ = ("_subscribers",)

    def __init__(self) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call *subscriber* with every event from now on; the returned function ends that."""
        self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Tell *event* to all subscribers; never raises."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:  # noqa: BLE001 - a broken listener must not break what it listens to
                traceback.print_exc(file=sys.__stderr__)


BUS = Bus()
