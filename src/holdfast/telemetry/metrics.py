"""Counts of what happened, for /metrics and the demo: plain numbers, made into text at a scrape.

`served` is on the path of every request and does one dictionary store; it belongs to the thread of
the server's loop. Everything else is counted from events of the bus, whatever thread they come
from. What others own (pools, monitors, queues) is read from them through callables at the scrape.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, TypeAlias

from holdfast import events
from holdfast.work import events as work

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[str, ...]
Samples: TypeAlias = dict[Labels, float]
Read: TypeAlias = Callable[[], float | Mapping[Labels, float]]

BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)  # seconds
METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "WEBSOCKET"}
)


@dataclass(frozen=True, slots=True)
class Source:
    """A metric that someone else owns: read at the scrape."""

    kind: str  # gauge or counter
    name: str
    help: str
    labels: Labels
    read: Read


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram at one moment: counts up to each bound, and the sum of all values."""

    cumulative: tuple[tuple[str, float], ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric at one moment: its samples by their labels' values."""

    kind: str  # counter, gauge or histogram
    name: str  # without `_total`
    help: str
    labels: Labels
    samples: Mapping[Labels, float] = field(default_factory=dict)
    histograms: Mapping[Labels, Buckets] = field(default_factory=dict)


class Histogram:
    """How many values fell under each bound of `BUCKETS`."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count *value*, in seconds."""
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.sum += value

    def frozen(self) -> Buckets:
        """The histogram as it is now."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        return Buckets(tuple(zip(bounds, map(float, accumulate(self.counts)), strict=True)), self.sum)


# A metric's name, its help, its labels.
COUNTERS: Final[Mapping[str, tuple[str, Labels]]] = {
    "holdfast_requests_held": ("Requests that waited for a database.", ()),
    "holdfast_requests_replayed": ("Attempts run again after a database failed underneath them.", ()),
    "holdfast_requests_recovered": ("Held or replayed requests that the application answered.", ()),
    "holdfast_requests_refused": ("Requests that holdfast answered in place of the application.", ("code",)),
    "holdfast_requests_abandoned": ("Held requests whose client left; they were not run.", ()),
    "holdfast_requests_failed": ("Requests whose application let an exception out.", ("category",)),
    "holdfast_after_answer_failed": (
        "Requests whose database failed what was to be done after their answer: work may be lost.",
        (),
    ),
    "holdfast_commits_in_doubt": (
        "COMMITs whose answer was lost, and whose outcome could not be learned.",
        ("database",),
    ),
    "holdfast_commits_resolved": ("COMMITs whose answer was lost, and what became of them.", ("outcome",)),
    "holdfast_answers_replayed": ("Requests given the first answer to their Idempotency-Key.", ()),
    "holdfast_requests_journaled": ("Requests written to the journal and answered with 202.", ()),
    "holdfast_journal_refused": ("Requests that the journal could not take.", ()),
    "holdfast_journal_finished": ("Journaled requests that came to an end.", ("state",)),
    "holdfast_transactions_retried": ("Transactions run again from their beginning.", ("database",)),
    "holdfast_database_outages": ("Times a database was lost.", ("database",)),
    "holdfast_database_probes": ("Failed probes of absent databases.", ("database",)),
    "holdfast_retries": ("Guarded calls scheduled to run again.", ("guard",)),
    "holdfast_uncaught_errors": ("Exceptions that nobody caught, outside any request.", ("where",)),
}


class Metrics:
    """The figures of this process since its start."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self._lock = threading.RLock()
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in COUNTERS}
        for name, (_, labels) in COUNTERS.items():
            if not labels:
                self._counts[name][()] = 0
        self._recovery: dict[str, Histogram] = {}
        self._held = Histogram()
        self._up: dict[str, float] = {}
        self._breakers: dict[str, str] = {}
        self._sources: dict[str, Source] = {}
        self._scrape_errors = 0
        self._text: Callable[[], bytes] | None = None

    def served(self, method: str, status: int) -> None:
        """A request was answered with *status*, by whomever."""
        key = (method, status)
        requests = self.requests
        requests[key] = requests.get(key, 0) + 1

    def follow(self, event: events.Event) -> None:
        """Subscriber of the bus: count *event*."""
        with self._lock:
            counted = _counted(event)
            if counted is not None:
                self._counts[counted[0]][counted[1]] += 1
            self._note(event)

    def gauge(self, name: str, help: str, read: Read, labels: Labels = ()) -> None:  # noqa: A002
        """Read the gauge *name* from *read* at each scrape; with *labels* it returns a mapping of them.

        A later registration under the same name replaces the earlier one.
        """
        self._sources[name] = Source("gauge", name, help, labels, read)

    def counter(self, name: str, help: str, read: Read, labels: Labels = ()) -> None:  # noqa: A002
        """As `gauge`, for a figure that only grows; Prometheus shows it as `<name>_total`."""
        self._sources[name] = Source("counter", name, help, labels, read)

    def pools(self, read: Callable[[], Mapping[str, Mapping[str, int]]]) -> None:
        """Tell pools under OpenTelemetry's names; *read* gives, by pool, idle, active, waiting and max.

        Names and labels are those of the semantic conventions for database client metrics.
        """

        def figure(key: str) -> Read:
            return lambda: {(pool,): float(one[key]) for pool, one in read().items() if key in one}

        def connections() -> Mapping[Labels, float]:
            states = (("idle", "idle"), ("used", "active"))
            return {
                (state, pool): float(one[key])
                for pool, one in read().items()
                for state, key in states
                if key in one
            }

        pool = ("db_client_connection_pool_name",)
        prefix = "db_client_connection"
        self.gauge(f"{prefix}_count", "Connections by state.", connections, (f"{prefix}_state", *pool))
        self.gauge(f"{prefix}_max", "Most connections allowed.", figure("max"), pool)
        self.gauge(f"{prefix}_pending_requests", "Who waits for a connection.", figure("waiting"), pool)

    def snapshot(self) -> dict[str, Any]:
        """The counts by short name (`held`, `replayed`, `refused`...), and requests by status class."""
        with self._lock:
            counts = {name: sum(one.values()) for name, one in self._counts.items()}
        by_class: Counter[str] = Counter()
        for (_, status), times in list(self.requests.items()):
            by_class[f"{status // 100}xx"] += times
        short = {name.removeprefix("holdfast_").removeprefix("requests_"): n for name, n in counts.items()}
        return {"requests": sum(by_class.values()), "by_status": dict(by_class), **short}

    def render(self) -> bytes:
        """All figures in Prometheus' text format (`CONTENT_TYPE`)."""
        if self._text is None:
            from holdfast.telemetry.scrape import text_of

            self._text = text_of(self.figures)
        return self._text()

    def figures(self) -> Iterator[Figure]:
        """All figures as they are now; a source that fails is left out and counted."""
        yield Figure(
            "counter", "holdfast_requests", "Requests answered.", ("method", "status"), self._served()
        )
        with self._lock:
            own = list(self._own())
        yield from own
        for source in list(self._sources.values()):
            try:
                read = source.read()
            except Exception:  # noqa: BLE001 - someone else's figure must not cost all others
                self._scrape_errors += 1
                continue
            samples: Samples = dict(read) if isinstance(read, Mapping) else {(): float(read)}
            yield Figure(source.kind, source.name, source.help, source.labels, samples)
        failed: Samples = {(): float(self._scrape_errors)}
        yield Figure("counter", "holdfast_scrape_errors", "Figures that could not be read.", (), failed)

    def _served(self) -> dict[Labels, float]:
        served: Counter[Labels] = Counter()
        for (method, status), times in list(self.requests.items()):
            served[method if method in METHODS else "OTHER", str(status)] += times
        return {key: float(times) for key, times in served.items()}

    def _own(self) -> Iterator[Figure]:
        for name, (text, labels) in COUNTERS.items():
            counts = {key: float(times) for key, times in self._counts[name].items()}
            yield Figure("counter", name, text, labels, counts)
        up: Samples = {(name,): value for name, value in self._up.items()}
        yield Figure("gauge", "holdfast_database_up", "1 when the database answers.", ("database",), up)
        states: Samples = dict.fromkeys(self._breakers.items(), 1.0)
        yield Figure(
            "gauge", "holdfast_breaker_state", "1 for the state it is in.", ("breaker", "state"), states
        )
        outages: dict[Labels, Buckets] = {(name,): one.frozen() for name, one in self._recovery.items()}
        text = "How long databases were away."
        yield Figure("histogram", "holdfast_recovery_seconds", text, ("database",), histograms=outages)
        text = "How long requests that were answered had waited for a database."
        yield Figure(
            "histogram", "holdfast_request_held_seconds", text, (), histograms={(): self._held.frozen()}
        )

    def _note(self, event: events.Event) -> None:
        match event:
            case events.DatabaseFound():
                self._up.setdefault(event.database, 1.0)
            case events.DatabaseLost():
                self._up[event.database] = 0.0
            case events.DatabaseRecovered():
                self._up[event.database] = 1.0
                self._recovery.setdefault(event.database, Histogram()).observe(event.outage_s)
            case events.RequestRecovered():
                self._held.observe(event.held_s)
            case events.BreakerChanged():
                self._breakers[event.breaker] = event.state
            case _:
                pass


def _counted(event: events.Event) -> tuple[str, Labels] | None:
    """Which counter *event* belongs to, and under which labels."""
    entry = _COUNTED.get(type(event))
    if entry is None:
        return None
    name, label = entry
    return name, () if label is None else (str(getattr(event, label)),)


_COUNTED: Final[dict[type[events.Event], tuple[str, str | None]]] = {
    events.RequestHeld: ("holdfast_requests_held", None),
    events.RequestReplayed: ("holdfast_requests_replayed", None),
    events.RequestRecovered: ("holdfast_requests_recovered", None),
    events.RequestRefused: ("holdfast_requests_refused", "code"),
    events.RequestAbandoned: ("holdfast_requests_abandoned", None),
    events.RequestFailed: ("holdfast_requests_failed", "category"),
    events.AfterAnswerFailed: ("holdfast_after_answer_failed", None),
    events.CommitInDoubt: ("holdfast_commits_in_doubt", "database"),
    events.CommitResolved: ("holdfast_commits_resolved", "outcome"),
    work.AnswerReplayed: ("holdfast_answers_replayed", None),
    work.RequestJournaled: ("holdfast_requests_journaled", None),
    work.JournalRefused: ("holdfast_journal_refused", None),
    work.EntryFinished: ("holdfast_journal_finished", "state"),
    work.EntryFailed: ("holdfast_journal_finished", "state"),
    work.TransactionRetried: ("holdfast_transactions_retried", "database"),
    events.DatabaseLost: ("holdfast_database_outages", "database"),
    events.ReconnectAttempted: ("holdfast_database_probes", "database"),
    events.RetryScheduled: ("holdfast_retries", "guard"),
    events.UncaughtError: ("holdfast_uncaught_errors", "where"),
}
