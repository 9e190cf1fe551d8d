"""Records of replayed attempts are dropped, those of failures are counted (LOG-5)."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy.exc import DBAPIError

from holdfast.context import REQUEST, Request
from holdfast.events import DatabaseLost, DatabaseRecovered, DatabaseSuspected
from holdfast.faults.category import Category, Fault, Outcome
from holdfast.telemetry import gates, incidents
from holdfast.telemetry.counting import FORGET_S
from holdfast.telemetry.incidents import A_REQUEST, AROUND_S, KEEP_S, Incidents

LOST_FAULT = Fault(Category.DATABASE_CONNECTION, 503, transient=True, outcome=Outcome.NOT_APPLIED, lost=True)
LOST = DatabaseLost(database="main", target="db:5432", cause="refused", pool={})
BACK = DatabaseRecovered(database="main", target="db:5432", outage_s=3.0, attempts=2, waiting=1)


class Messages(logging.Handler):
    """An application's own handler, with whatever formatter."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def messages() -> Iterator[Messages]:
    handler = Messages()
    before = logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.INFO)
    yield handler
    logging.root.removeHandler(handler)
    logging.root.setLevel(before)


shop = logging.getLogger("shop")
pool = logging.getLogger("sqlalchemy.pool.impl.AsyncAdaptedQueuePool")


def test_what_a_replayed_attempt_logged_is_dropped_and_counted(told, messages, under_way):
    request = under_way(fault=True)
    shop.error("could not save")
    shop.info("details", exc_info=OSError("gone"))

    assert messages.texts == []
    told.forget(request)
    told.release(request)
    assert messages.texts == []
    assert told.settle().forgotten == 2
    assert told.settle().forgotten == 0


def test_what_an_answered_request_logged_is_let_through(told, messages, under_way):
    request = under_way(fault=True)
    shop.error("could not save %s", "it")
    told.release(request)
    told.release(request)

    assert messages.texts == ["could not save it"]
    told.forget(request)
    assert told.forgotten == 0


def test_a_hundred_answered_failures_are_one_record_and_a_number(told, messages, under_way, clock):
    for number in range(100):
        request = under_way(str(number), fault=True)
        shop.error("could not save order %d", number)
        told.release(request)
        clock.jump(0.05)

    assert messages.texts == ["could not save order 0"]
    assert list(told.settle().counted.values()) == [99]


def test_after_ten_seconds_a_line_without_traceback_says_how_often(told, messages, under_way, clock):
    request = under_way(fault=True)
    for _ in range(3):
        shop.error("could not save", exc_info=OSError("gone"))
        told.release(request)
        clock.jump(5.0)

    assert messages.texts == ["could not save", "could not save (2 times in 10.0 s)"]
    assert [record.exc_info is not None for record in messages.records] == [True, False]


def test_long_after_it_is_told_in_full_again_with_what_was_not_told(told, messages, under_way, clock):
    request = under_way(fault=True)
    for wait in (1.0, FORGET_S - 5.0, 0.0):
        shop.error("could not save")
        told.release(request)
        clock.jump(wait)
    told.settle()
    shop.error("could not save")
    told.release(request)
    clock.jump(FORGET_S - 5.0)
    told.sweep()
    clock.jump(6.0)
    shop.error("could not save")
    told.release(request)

    counted = "could not save (2 times in 56.0 s)"
    late = "could not save (1 more times, the last over a minute ago)"
    assert messages.texts == ["could not save", counted, late, "could not save"]


def test_failures_that_have_ceased_are_reported_and_make_room(told, messages, under_way, clock):
    reported: list[tuple[str, int]] = []
    told.report = lambda fingerprint, times: reported.append((fingerprint.message, times))
    under_way(fault=True).started = True
    for _ in range(4):
        shop.error("could not save")
    clock.jump(FORGET_S + 1)
    told.sweep()
    told.sweep()

    assert reported == [("could not save", 3)]
    assert told.settle().counted == {}


def test_without_anyone_to_report_to_the_end_of_the_outage_tells(told, messages, under_way, clock):
    under_way(fault=True).started = True
    for _ in range(4):
        shop.error("could not save")
    clock.jump(FORGET_S + 1)
    told.sweep()

    assert list(told.settle().counted.values()) == [3]


def test_below_warning_and_without_fault_nothing_is_kept(told, messages, under_way):
    under_way(fault=True)
    shop.warning("kept")
    shop.info("passes")
    under_way(fault=False)
    shop.error("passes too")

    assert messages.texts == ["passes", "passes too"]


def test_once_a_byte_of_the_answer_left_nothing_is_kept(told, messages, under_way):
    request = under_way(fault=True)
    request.started = True
    shop.error("half an answer")
    shop.error("half an answer")

    assert messages.texts == ["half an answer"]


def test_a_websocket_is_never_replayed_so_nothing_is_kept(told, messages, under_way):
    under_way(fault=True).kind = "websocket"
    shop.error("cut")

    assert messages.texts == ["cut"]


def test_the_records_of_one_request_are_bounded(told, messages, under_way):
    request = under_way(fault=True)
    words = [f"{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(A_REQUEST + 5)]
    for word in words:
        shop.error("failed at " + word)
    told.release(request)

    assert [f"failed at {word}" for word in words[:A_REQUEST]] == messages.texts[:A_REQUEST]
    assert messages.texts[A_REQUEST:][0].endswith("(and 5 more records of this request)")


def test_past_the_bound_of_requests_records_pass_the_counter(
    told, messages, under_way, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(incidents, "REQUESTS", 1)
    under_way("1", fault=True)
    shop.error("first")
    under_way("2", fault=True)
    shop.error("second")
    shop.error("second")

    assert messages.texts == ["second"]


def test_records_nobody_comes_for_are_let_through_in_the_end(told, messages, under_way, clock):
    under_way(fault=True)
    shop.error("left behind")
    clock.jump(KEEP_S + 1)
    under_way("2")
    shop.error("another")

    assert messages.texts == ["left behind", "another"]


def test_kinds_of_failures_are_bounded(told, messages, under_way, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(incidents, "KINDS", 2)
    under_way(fault=True).started = True
    for word in ("one", "two", "three", "four"):
        shop.error(word)

    assert messages.texts == ["one", "two", "three"]


def test_the_pools_noise_is_counted_while_a_database_is_away(told, messages, clock):
    pool.error("Exception terminating connection %r", object())
    told.follow(LOST)
    assert told.outage
    for _ in range(50):
        pool.error("Exception terminating connection %r", object())
    shop.error("something else")
    told.follow(BACK)
    assert not told.outage
    pool.error("Exception terminating connection %r", object())

    assert [pool.name, pool.name, "shop"] == [record.name for record in messages.records]
    assert list(told.settle().counted.values()) == [50]

    clock.jump(AROUND_S + 0.1)
    pool.error("Exception during reset or similar")
    assert len(messages.records) == 4


def test_a_suspicion_counts_as_outage_until_it_is_confirmed(told, messages):
    told.follow(DatabaseSuspected(database="main", cause="reset"))
    for _ in range(3):
        pool.error("Exception during reset or similar")

    assert len(messages.records) == 1


def test_a_lost_connection_is_told_in_full_once_before_anybody_knows_of_an_outage(told, messages):
    """LOG-5: five WebSockets whose database went, and no request that knows."""
    for _ in range(5):
        lost = DBAPIError("SELECT 1", {}, OSError("gone"), connection_invalidated=True)
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=lost)
    for _ in range(2):  # another service's: none of our business
        shop.error("no payment", exc_info=ConnectionResetError())

    assert messages.texts == ["Exception in ASGI application\n", "no payment", "no payment"]
    assert list(told.settle().counted.values()) == [4]


def test_at_the_stop_what_was_only_counted_is_told(told, messages):
    """LOG-5: a summary at the end, if that is the end of the process."""
    reported = []
    told.report = lambda fingerprint, times: reported.append((fingerprint.logger, times))
    told.follow(LOST)
    for _ in range(5):
        pool.error("Exception during reset or similar")
    told.let_go()
    told.let_go()

    assert reported == [(pool.name, 4)]


async def test_forgotten_tasks_and_uvicorns_tracebacks_are_counted_during_an_outage(told, messages):
    told.follow(LOST)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        loop.call_exception_handler(
            {"message": "Task exception was never retrieved", "exception": ConnectionRefusedError()}
        )
        logging.getLogger("uvicorn.error").error(
            "Exception in ASGI application\n", exc_info=ZeroDivisionError()
        )
        loop.call_exception_handler(
            {"message": "Task exception was never retrieved", "exception": ZeroDivisionError()}
        )

    assert sorted(record.name for record in messages.records) == [
        "asyncio",
        "asyncio",
        "asyncio",
        "asyncio",
        "uvicorn.error",
    ]


def test_a_disabled_logger_stays_silent_and_counts_nothing(told, messages, under_way):
    request = under_way(fault=True)
    shop.disabled = True
    try:
        shop.error("silent")
    finally:
        shop.disabled = False

    told.forget(request)
    assert told.forgotten == 0


def test_our_own_events_are_never_kept(told, messages, under_way):
    under_way(fault=True)
    logging.getLogger("holdfast").error("request_failed")

    assert messages.texts == ["request_failed"]


def test_arguments_are_taken_when_the_record_is_logged(told, messages, under_way):
    basket = [1]
    request = under_way(fault=True)
    shop.error("basket %s", basket)
    basket.append(2)
    told.release(request)

    assert messages.texts == ["basket [1]"]


def test_wrong_arguments_are_no_reason_to_fail(told, messages, under_way, clock):
    request = under_way(fault=True)
    request.started = True
    odd = logging.getLogger("shop.odd")
    odd.propagate = False
    odd.addHandler(messages)
    odd.error("%d", "many")
    clock.jump(10.0)
    odd.error("%d", "many")
    odd.removeHandler(messages)
    odd.propagate = True

    assert [str(record.msg) for record in messages.records] == ["%d", "%d (1 times in 10.0 s)"]


def test_when_holding_back_breaks_records_are_logged_and_it_is_said_once(
    told, messages, under_way, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gates, "_complained", False)
    monkeypatch.setattr("sys.__stderr__", io.StringIO())
    monkeypatch.setattr(told, "admit", None)
    shop.error("one")
    shop.error("two")

    assert messages.texts == ["one", "two"]


class Unreadable:
    def __repr__(self) -> str:
        raise ValueError("no")


def test_a_message_that_cannot_be_shown_is_logged_and_nothing_is_complained_of(
    told, monkeypatch: pytest.MonkeyPatch
):
    """RED-2, LOG-5: what the application cannot show is no failure of holding back."""
    said, handler, odd = io.StringIO(), Messages(), logging.getLogger("odd")
    odd.addHandler(handler)
    odd.propagate = False
    monkeypatch.setattr(gates, "_complained", False)
    monkeypatch.setattr("sys.__stderr__", said)
    for _ in range(3):
        odd.warning({"a": Unreadable()})
    told.settle()

    assert said.getvalue() == ""
    assert handler.records[0].levelname == "WARNING"
    odd.removeHandler(handler)


def test_installing_twice_wraps_once_and_another_ones_uninstall_changes_nothing(told, messages, under_way):
    gates.install(told)
    gates.uninstall(Incidents())
    under_way(fault=True)
    shop.error("kept")

    assert messages.texts == []


def test_a_wrapper_around_ours_stays_and_ours_steps_aside(clock, messages, under_way):
    keeper = Incidents(clock)
    gates.install(keeper)
    ours = logging.Logger.handle

    def theirs(self: logging.Logger, record: logging.LogRecord) -> None:
        ours(self, record)

    try:
        logging.Logger.handle = theirs  # type: ignore[method-assign]
        gates.uninstall(keeper)
        under_way(fault=True)
        shop.error("passes")

        assert logging.Logger.handle is theirs
        assert messages.texts == ["passes"]
    finally:
        logging.Logger.handle = gates._handle  # type: ignore[method-assign]


def test_lines_of_structlog_are_kept_by_the_same_rule(told, captured, under_way, clock):
    captured.logs.gate = gates.line_gate(told)
    log = structlog.get_logger("shop")
    request = under_way(fault=True)
    log.info("passes")
    log.error("kept")
    told.forget(request)
    for _ in range(3):
        log.error("failed", exc_info=OSError("gone"))
        told.release(request)
        clock.jump(5.0)

    assert [line["event"] for line in captured.lines] == ["passes", "failed", "failed (2 times in 10.0 s)"]
    assert [line["request_id"] for line in captured.lines] == ["r-1"] * 3


def test_structlogs_gate_fails_open(captured, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gates, "_complained", True)
    captured.logs.gate = gates.line_gate(None)  # type: ignore[arg-type]
    structlog.get_logger("shop").error("passes")

    assert [line["event"] for line in captured.lines] == ["passes"]


def test_eight_threads_lose_no_record(told, messages, clock):
    """Each record is printed, dropped with its replayed attempt, or in a number."""

    def serve(worker: int) -> None:
        for number in range(100):
            request = Request(f"{worker}-{number}", "GET", "/", 999.0, 1030.0)
            request.ledger.fault = LOST_FAULT
            REQUEST.set(request)
            shop.error("could not save")
            shop.error("could not load")
            (told.forget if number % 2 else told.release)(request)
        REQUEST.set(None)

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    summary = told.settle()

    assert sorted(messages.texts) == ["could not load", "could not save"]
    assert summary.forgotten == 800
    assert sum(summary.counted.values()) == 798


def test_at_the_stop_everything_that_is_still_kept_is_told(told, messages, under_way):
    """LOG-1: nobody will come for it any more."""
    for what in ("save", "load"):
        under_way(what, fault=True)
        shop.error(f"could not {what}")
    assert messages.texts == []

    told.let_go()
    told.let_go()

    assert messages.texts == ["could not save", "could not load"]


def test_a_request_knows_whether_something_it_logged_is_withheld(told, messages, under_way):
    """LOG-5: so that an answer without any asks nobody."""
    request = under_way(fault=True)
    assert not request.withheld
    for end in (told.release, told.forget):
        shop.error("could not save")
        assert request.withheld
        end(request)
        assert not request.withheld
