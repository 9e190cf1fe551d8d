"""Every event of the bus as a structured log line, and every outage as one incident.

What happens to single requests is told at debug; for the rest there is one line when a database
is lost, one each ten seconds while it is probed, and one summary when it is back: in the same line,
or in one of its own as soon as the last of those who waited has been decided. Who reads of the loss
reads of its end: both are at warning or above, which is all that is seen where nobody has configured
logging. Events arrive from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import fields
from typing import Any, Final, TypeAlias

from holdfast import events
from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.context import REQUEST
from holdfast.faults.classify import classify
from holdfast.telemetry.counting import LINE_S, Counted, Fingerprint, Full, Quiet, Verdict, template
from holdfast.telemetry.enrichment import about, operation
from holdfast.telemetry.incidents import Incidents, Summary
from holdfast.telemetry.lines import frozen, shown
from holdfast.telemetry.outages import Outage, Outages
from holdfast.work.events import AnswerReplayed, RequestJournaled

Write: TypeAlias = Callable[[str, str, Mapping[str, Any] | None, BaseException | None], None]

KINDS_TOLD: Final = 5  # kinds of repeated records in the summary


class EventLog:
    """Subscriber of the bus that writes. *write* takes level, event name, fields and exception."""

    def __init__(self, write: Write, incidents: Incidents, clock: Clock = SYSTEM_CLOCK) -> None:
        self._write = write
        self._incidents = incidents
        self._clock = clock
        self._outages = Outages(clock)
        self._probe_told_at: dict[str, float] = {}
        incidents.report = self._tell_ceased

    def __call__(self, event: events.Event) -> None:
        """Tell *event*."""
        match event:
            case events.RequestFailed() | events.AfterAnswerFailed() | events.UncaughtError():
                self._tell_error(event)
            case events.RequestRefused():
                self._tally("refused", event)
                self._tell_counted(event, Fingerprint("holdfast", event.level, None, event.code))
            case events.RetryScheduled():
                self._tell_counted(event, Fingerprint("holdfast", event.level, None, event.guard))
            case events.DatabaseSuspected() | events.DatabaseLost():
                lost = isinstance(event, events.DatabaseLost)
                self._settle(self._outages.begins(event.database, lost=lost))
                self._write(event.level, event.name, told(event), None)
            case events.DatabaseRecovered():
                self._tell_recovery(event)
            case events.ReconnectAttempted():
                self._write(self._probe_level(event), event.name, told(event), None)
            case _:
                self._write(event.level, event.name, told(event), None)
                if type(event) in _TALLIED:
                    self._tally(_TALLIED[type(event)], event)

    def _tally(self, what: str | None, event: Any) -> None:
        self._settle(self._outages.count(what, event.request_id))

    def _settle(self, outage: Outage | None) -> None:
        if outage is not None:  # in no context: it is not the last request's line
            level = events.DatabaseRecovered.level
            Context().run(self._write, level, "outage_settled", self._figures(outage), None)

    def _probe_level(self, event: events.ReconnectAttempted) -> str:
        """Debug, except for one line each ten seconds of an outage."""
        now = self._clock.monotonic()
        if now - self._probe_told_at.setdefault(event.database, now) < LINE_S:
            return event.level
        self._probe_told_at[event.database] = now
        return "warning"

    def _tell_error(
        self, event: events.RequestFailed | events.AfterAnswerFailed | events.UncaughtError
    ) -> None:
        error = event.error
        fault = classify(error)
        place = template(event.where if isinstance(event, events.UncaughtError) else event.path)
        verdict = self._incidents.count(Fingerprint("holdfast", event.level, type(error).__name__, place))
        fields = {**told(event), **_about_error(error), "category": str(fault.category)}
        if isinstance(event, events.RequestFailed):
            self._tally("failed", event)
        if not isinstance(event, events.UncaughtError):
            request = REQUEST.get()
            if request is not None:
                fields = {**about(request, self._clock.monotonic()), **fields}
        if not fault.transient and isinstance(verdict, Quiet):
            self._write(event.level, event.name, fields, None)  # a bug: each one is told, in one line
            return
        self._tell(verdict, event, fields, error)

    def _tell_counted(self, event: events.Event, fingerprint: Fingerprint) -> None:
        self._tell(self._incidents.count(fingerprint), event, told(event), None)

    def _tell(
        self, verdict: Verdict, event: events.Event, fields: dict[str, Any], error: BaseException | None
    ) -> None:
        match verdict:
            case Full(earlier):
                before = {"not_told_before": earlier} if earlier else {}
                self._write(event.level, event.name, fields | before, error)
            case Counted(times, within):
                extra = {"times": times, "within_s": round(within, 1)}
                self._write(event.level, event.name, fields | extra, None)
            case Quiet():
                self._write("debug", event.name, fields, None)

    def _tell_ceased(self, fingerprint: Fingerprint, times: int) -> None:
        """A failure has not happened for a while, and this is how often nobody was told."""
        self._write(
            fingerprint.level if fingerprint.level in ("info", "warning", "error") else "error",
            "failure_repeated",
            {"logger_name": fingerprint.logger, "failure": fingerprint.message, "times": times},
            None,
        )

    def _tell_recovery(self, event: events.DatabaseRecovered) -> None:
        self._probe_told_at.pop(event.database, None)
        outage = self._outages.ends(event.database)
        figures = {} if outage is None else self._figures(outage)
        self._write(event.level, event.name, told(event) | figures, None)

    def _figures(self, outage: Outage) -> dict[str, Any]:
        tally = {f"requests_{one.name}": getattr(outage, one.name) for one in fields(Outage)}
        return tally | _summary(self._incidents.settle())


_TALLIED: Final[dict[type[events.Event], str | None]] = {
    events.RequestHeld: "held",
    events.RequestReplayed: "replayed",
    events.RequestRecovered: "recovered",
    events.RequestAbandoned: "abandoned",
    RequestJournaled: None,
    AnswerReplayed: None,
}


def told(event: events.Event) -> dict[str, Any]:
    """The fields of *event* as it is logged: seconds rounded to milliseconds, no exception object."""
    context: dict[str, Any] = frozen(dict(getattr(event, "context", {})))
    return {
        one.name: _rounded(getattr(event, one.name))
        for one in fields(event)
        if one.name not in ("error", "context")
    } | context


def _rounded(value: Any) -> Any:
    return round(value, 3) if type(value) is float else value


def _about_error(error: BaseException) -> dict[str, Any]:
    # Only the first line: those that follow carry statements, parameters and rows.
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "message": shown(error).split("\n", 1)[0][:300],
    }
    if (query := operation(error)) is not None:
        told["database_operation"] = query
    return told


def _summary(summary: Summary) -> dict[str, Any]:
    counted = summary.counted
    kinds = {f"{key.logger}: {key.message}": times for key, times in list(counted.items())[:KINDS_TOLD]}
    told: dict[str, Any] = {
        "log_records_of_replayed_attempts": summary.forgotten,
        "log_records_counted": sum(counted.values()),
    }
    return told | ({"log_records_by_kind": kinds} if kinds else {})
