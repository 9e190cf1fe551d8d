"""Every event is a line; an outage is one incident with a summary (PRM-3, LOG-5, ERR-6)."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from holdfast import events
from holdfast.context import REQUEST, Request
from holdfast.events import Bus
from holdfast.telemetry.events import EventLog
from holdfast.telemetry.incidents import Incidents
from holdfast.telemetry.loggers import write_to_standard_library
from holdfast.telemetry.outages import DECIDED_S
from holdfast.work import events as work


class Book:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any], BaseException | None]] = []
        self.requests: list[Request | None] = []

    def __call__(self, level, event, fields, error) -> None:
        self.requests.append(REQUEST.get())
        self.lines.append((level, event, dict(fields or {}), error))

    def of(self, event: str) -> list[tuple[str, str, dict[str, Any], BaseException | None]]:
        return [line for line in self.lines if line[1] == event]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def bus(book, clock) -> Bus:
    bus = Bus()
    incidents = Incidents(clock)
    bus.subscribe(incidents.follow)
    bus.subscribe(EventLog(book, incidents, clock))
    return bus


def lost() -> events.DatabaseLost:
    return events.DatabaseLost(database="main", target="db:5432", cause="refused", pool={"idle": 2})


def back() -> events.DatabaseRecovered:
    return events.DatabaseRecovered(
        database="main", target="db:5432", outage_s=3.25004, attempts=4, waiting=12
    )


def refused(code: str = "database_unavailable") -> events.RequestRefused:
    return events.RequestRefused(
        request_id="r", method="GET", path="/", status=503, code=code, attempts=1, held_s=10.0
    )


def failed(error: BaseException, path: str = "/orders/7") -> events.RequestFailed:
    return events.RequestFailed(
        request_id="r", method="POST", path=path, status=500, category="unknown", error=error
    )


def test_an_event_is_told_with_its_fields_at_its_level(bus, book):
    bus.publish(lost())

    assert book.lines == [
        (
            "error",
            "database_lost",
            {"database": "main", "target": "db:5432", "cause": "refused", "pool": {"idle": 2}},
            None,
        )
    ]


def test_the_end_of_an_outage_sums_up_what_happened_to_requests(bus, book):
    bus.publish(lost())
    for _ in range(3):
        bus.publish(events.RequestHeld(request_id="r", method="GET", path="/", database="main"))
    bus.publish(
        events.RequestReplayed(
            request_id="r", method="GET", path="/", attempt=2, database="main", cause="reset"
        )
    )
    bus.publish(
        events.RequestRecovered(request_id="r", method="GET", path="/", status=200, attempts=2, held_s=1.0)
    )
    bus.publish(events.RequestAbandoned(request_id="r", method="GET", path="/", held_s=1.0))
    bus.publish(refused())
    bus.publish(refused())
    bus.publish(failed(OSError("gone")))
    bus.publish(back())

    _, _, fields, _ = book.of("database_recovered")[0]
    assert fields == {
        "database": "main",
        "target": "db:5432",
        "outage_s": 3.25,
        "attempts": 4,
        "waiting": 12,
        "requests_held": 3,
        "requests_replayed": 1,
        "requests_recovered": 1,
        "requests_abandoned": 1,
        "requests_refused": 2,
        "requests_failed": 1,
        "log_records_of_replayed_attempts": 0,
        "log_records_counted": 1,
        "log_records_by_kind": {"holdfast: database_unavailable": 1},
    }
    bus.publish(back())
    assert book.of("database_recovered")[1][2]["requests_held"] == 0


def held(request: str) -> events.RequestHeld:
    return events.RequestHeld(request_id=request, method="GET", path="/", database="main")


def recovered(request: str) -> events.RequestRecovered:
    return events.RequestRecovered(
        request_id=request, method="GET", path="/", status=200, attempts=1, held_s=1.0
    )


def suspected() -> events.DatabaseSuspected:
    return events.DatabaseSuspected(database="main", cause="reset")


def figures(line: tuple[str, str, dict[str, Any], BaseException | None]) -> dict[str, int]:
    """Those of the requests in a line, without the zeros."""
    prefix = "requests_"
    return {name.removeprefix(prefix): n for name, n in line[2].items() if name.startswith(prefix) and n}


@pytest.mark.parametrize("signs", [[lost()], [suspected(), lost()]], ids=["silent", "broken"])
def test_what_failed_before_an_outage_is_no_part_of_it(bus, book, signs):
    """PRM-3: a bug of this morning, and a refusal of an hour ago."""
    bus.publish(failed(KeyError("x")))
    bus.publish(refused())
    for sign in signs:
        bus.publish(sign)
    bus.publish(failed(OSError("gone")))
    bus.publish(back())

    assert figures(book.of("database_recovered")[0]) == {"failed": 1}


def test_who_was_held_while_it_was_only_suspected_is_counted(bus, book):
    bus.publish(suspected())
    bus.publish(held("a"))
    bus.publish(lost())
    bus.publish(recovered("a"))
    bus.publish(back())

    assert figures(book.of("database_recovered")[0]) == {"held": 1, "recovered": 1}


def test_those_who_go_when_it_is_back_are_counted_to_their_own_outage(bus, book):
    """PRM-3: the line at its end says that it is back; the figures follow with the last of them."""
    for requests in ("abc", "d"):
        bus.publish(suspected())
        bus.publish(lost())
        for request in requests:
            bus.publish(held(request))
        bus.publish(back())
        for request in requests:
            assert figures(book.lines[-1]) == {}
            bus.publish(recovered(request))

    assert [figures(line) for line in book.of("database_recovered")] == [{}, {}]
    first, second = book.of("outage_settled")
    assert figures(first) == {"held": 3, "recovered": 3}
    assert figures(second) == {"held": 1, "recovered": 1}


def test_who_reads_of_a_loss_reads_of_its_end(bus, clock, caplog):
    """PRM-3: where nobody has configured logging, as under most servers, nothing below warning is seen."""
    bus.subscribe(EventLog(write_to_standard_library, Incidents(clock), clock))
    with caplog.at_level(logging.WARNING):
        for event in (suspected(), lost(), held("a"), back(), recovered("a")):
            bus.publish(event)

    told = [message.split(" ", 1)[0] for message in caplog.messages]
    assert told == ["database_lost", "database_recovered", "outage_settled"]


@pytest.mark.parametrize("sign", [suspected(), lost()], ids=["suspected", "lost"])
def test_an_outage_that_is_followed_by_another_is_told_first(bus, book, sign):
    bus.publish(lost())
    bus.publish(held("a"))
    bus.publish(back())
    bus.publish(sign)

    assert [line[1] for line in book.lines][-2:] == ["outage_settled", sign.name]
    assert figures(book.of("outage_settled")[0]) == {"held": 1}


def test_one_that_was_written_down_is_decided_and_one_that_was_cut_off_keeps_nobody(bus, book, clock):
    bus.publish(lost())
    bus.publish(held("written"))
    bus.publish(back())
    bus.publish(work.RequestJournaled(request_id="written", method="POST", path="/", number=1))
    assert figures(book.of("outage_settled")[0]) == {"held": 1}

    bus.publish(lost())
    bus.publish(held("cut"))
    bus.publish(back())
    clock.jump(DECIDED_S)
    bus.publish(refused())
    assert len(book.of("outage_settled")) == 2


def test_the_line_at_the_end_is_not_the_last_requests(bus, book, under_way):
    request = under_way("a")
    for event in (lost(), held("a"), back(), recovered("a")):
        bus.publish(event)

    assert book.lines[-1][1] == "outage_settled"
    assert book.requests[-2:] == [request, None]


def test_what_happens_to_single_requests_is_debug(bus, book):
    bus.publish(events.RequestHeld(request_id="r", method="GET", path="/", database="main"))

    assert [line[0] for line in book.lines] == ["debug"]


def test_probes_are_debug_except_for_one_line_each_ten_seconds(bus, book, clock):
    for attempt in range(21):
        bus.publish(
            events.ReconnectAttempted(
                database="main", target="db", attempt=attempt, cause="refused", next_s=1.0
            )
        )
        clock.jump(1.0)

    levels = [line[0] for line in book.lines]
    assert len(levels) == 21
    assert [index for index, level in enumerate(levels) if level == "warning"] == [10, 20]


def test_refusals_are_told_once_then_counted(bus, book, clock):
    for _ in range(220):
        bus.publish(refused())
        clock.jump(0.1)

    loud = [line for line in book.lines if line[0] == "warning"]
    assert [line[2].get("times") for line in loud] == [None, 100, 100]
    assert len(book.lines) == 220


def test_what_failed_after_the_answer_is_told_once_with_its_cause_then_counted(bus, book):
    """PRM-3, LOG-5: it may be work that is lost, and it happens to many in one outage."""
    for number in range(50):
        bus.publish(
            events.AfterAnswerFailed(
                request_id="r",
                method="POST",
                path=f"/orders/{number}",
                status=202,
                category="database_connection",
                error=ConnectionResetError("gone"),
            )
        )
    bus.publish(back())

    level, _, fields, error = book.of("after_answer_failed")[0]
    assert (level, type(error)) == ("warning", ConnectionResetError)
    assert (fields["method"], fields["path"], fields["status"]) == ("POST", "/orders/0", 202)
    assert (fields["error"], fields["message"]) == ("ConnectionResetError", "gone")
    assert {line[0] for line in book.of("after_answer_failed")[1:]} == {"debug"}
    assert book.of("database_recovered")[0][2]["requests_failed"] == 0


def test_other_refusals_are_told_on_their_own(bus, book):
    bus.publish(refused("database_unavailable"))
    bus.publish(refused("deadline"))

    assert [line[0] for line in book.lines] == ["warning", "warning"]


def test_a_traceback_is_told_once_an_incident(bus, book, clock):
    for order in range(30):
        bus.publish(failed(ConnectionResetError("gone"), f"/orders/{order}"))
    clock.jump(10.0)
    bus.publish(failed(ConnectionResetError("gone")))

    loud = [line for line in book.lines if line[3] is not None]
    assert len(loud) == 1


def test_every_occurrence_of_a_bug_is_a_line_but_its_traceback_is_told_once(bus, book):
    for _ in range(3):
        bus.publish(failed(ZeroDivisionError("division by zero")))

    assert [line[0] for line in book.lines] == ["error"] * 3
    assert [line[3] is not None for line in book.lines] == [True, False, False]


def test_a_failed_request_is_told_with_its_context_timing_recovery_and_operation(bus, book, under_way):
    """ERR-6."""

    class StatementError(Exception):
        statement = "SELECT * FROM orders WHERE note = '4111111111111111' AND id = 7"

    request = under_way("r-5")
    request.client = "192.0.2.1"
    request.headers = [(b"user-agent", b"curl/8")]
    bus.publish(failed(StatementError("broken\n[parameters: ('4111111111111111',)]")))

    fields = book.lines[0][2]
    assert (fields["error"], fields["message"]) == ("StatementError", "broken")
    assert fields["database_operation"] == {
        "operation": "SELECT",
        "table": "orders",
        "statement": "SELECT * FROM orders WHERE note = ? AND id = ?",
    }
    assert fields["recovery"] == {"attempted": False, "successful": False, "attempts": 1}
    assert (fields["client"], fields["user_agent"], fields["elapsed_ms"]) == ("192.0.2.1", "curl/8", 1000.0)


def test_uncaught_errors_carry_their_context(bus, book):
    bus.publish(events.UncaughtError(where="task", error=ValueError("x"), context={"task": "poller"}))

    level, _, fields, error = book.lines[0]
    assert (
        level,
        fields["where"],
        fields["task"],
        fields["category"],
    ) == ("error", "task", "poller", "unknown")
    assert isinstance(error, ValueError)


def test_a_failure_that_has_ceased_is_told_with_its_number(bus, book, clock):
    for wait in (1.0, 1.0, 100.0, 0.0):
        bus.publish(refused())
        clock.jump(wait)

    level, _, fields, _ = book.of("failure_repeated")[0]
    assert (level, fields["failure"], fields["times"]) == ("warning", "database_unavailable", 2)
    assert [line[0] for line in book.of("request_refused")] == ["warning", "debug", "debug", "warning"]


def test_scheduled_retries_are_counted(bus, book):
    for attempt in (1, 2):
        bus.publish(events.RetryScheduled(guard="payments", attempt=attempt, delay_s=0.1, cause="timeout"))

    assert [line[0] for line in book.lines] == ["info", "debug"]


EVERY = sorted(events.Event.__subclasses__(), key=lambda one: one.__name__)


def test_there_are_events_at_all():
    assert len(EVERY) >= 20


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_event_is_told(kind, bus, book):
    """PRM-3: nothing that holdfast does is silent."""
    samples = {"error": ValueError("x"), "pool": {}, "context": {}}
    numbers = ("attempt", "attempts", "status", "waiting", "failures")
    given = {}
    for one in dataclasses.fields(kind):
        number = one.name in numbers or one.name.endswith(("_s", "_ms"))
        given[one.name] = samples.get(one.name, 1 if number else "x")
    bus.publish(kind(**given))

    assert [line[1] for line in book.lines] == [kind.name]
