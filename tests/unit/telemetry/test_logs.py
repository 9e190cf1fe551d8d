"""structlog's loggers and the standard library's flow through one pipeline (LOG-1)."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import subprocess
import sys
from typing import Any

import pytest
import structlog

from holdfast.telemetry import logs as pipeline
from holdfast.telemetry.loggers import write_to_standard_library
from holdfast.telemetry.logs import configure, level_number


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_both_kinds_of_loggers_come_out_alike(captured, under_way):
    under_way("r-7")
    logging.getLogger("shop.orders").warning("order %d is late", 7, extra={"days": 3})
    structlog.get_logger("shop.stock").info("reserved", item="chair", count=2)

    one, two = captured.lines
    assert (
        one["logger"],
        one["level"],
        one["event"],
        one["days"],
        one["request_id"],
    ) == ("shop.orders", "warning", "order 7 is late", 3, "r-7")
    assert (
        two["logger"],
        two["level"],
        two["event"],
        two["item"],
        two["count"],
        two["request_id"],
    ) == ("shop.stock", "info", "reserved", "chair", 2, "r-7")


class EarlyRecord(logging.LogRecord):
    """As a factory of the application's may make it: its own attribute comes first, another one last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.tenant = "t-1"
        super().__init__(*args, **kwargs)
        self.host = "h-1"


def test_what_an_application_adds_to_a_record_is_there_wherever_it_stands(captured):
    items = ["chair"]
    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(EarlyRecord)
    try:
        logging.getLogger("shop").info("reserved", extra={"items": items, "color_message": "no"})
    finally:
        logging.setLogRecordFactory(factory)
    items.append("added later")
    logging.getLogger("shop").info("plain", extra={"color_message": "no", "count": 2})

    odd, plain = captured.lines
    assert (odd["tenant"], odd["host"], odd["items"]) == ("t-1", "h-1", ["chair"])
    assert plain["count"] == 2
    assert not {"color_message", "pathname", "lineno"} & (odd.keys() | plain.keys())


def test_the_request_is_the_callers_even_when_it_has_ended_before_the_line_is_written(captured, under_way):
    request = under_way("r-8")
    logging.getLogger("shop").info("during")
    request.ledger.fault = None

    assert captured.lines[0]["request_id"] == "r-8"


def test_exceptions_of_both_kinds_have_their_traceback(captured):
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("shop").exception("one")
        structlog.get_logger("shop").exception("two")
        structlog.get_logger("shop").error("three", exc_info=True)

    assert len(captured.lines) == 3
    assert all("ValueError: broken" in line["exception"] for line in captured.lines)
    assert [line["level"] for line in captured.lines] == ["error"] * 3


def test_structlog_on_top_of_the_standard_library_keeps_its_fields(captured):
    logging.getLogger("shop").info({"event": "paid", "order": 7})

    assert (captured.lines[0]["event"], captured.lines[0]["order"]) == ("paid", 7)


def test_bound_values_and_context_variables_of_structlog_are_there(captured):
    with structlog.contextvars.bound_contextvars(tenant="acme"):
        structlog.get_logger("shop").bind(order=7).info("paid", basket=[1, object])

    assert (captured.lines[0]["tenant"], captured.lines[0]["order"]) == ("acme", 7)
    assert (structlog.get_logger().info("x"), captured.lines[-1]["logger"])[1] == "app"


def test_lines_below_the_level_are_not_written():
    stream = io.StringIO()
    logs = configure("json", "warning", stream)
    try:
        logging.getLogger("shop").info("quiet")
        structlog.get_logger("shop").info("quiet")
        logs.write("info", "quiet")
        logs.flush()

        assert stream.getvalue() == ""
    finally:
        logs.close()


def test_auto_is_console_on_a_terminal_and_json_elsewhere():
    for stream, expected in ((Terminal(), "console"), (io.StringIO(), "json")):
        logs = configure("auto", "info", stream)
        try:
            assert expected == logs.format
        finally:
            logs.close()


def test_the_second_call_changes_the_pipeline_there_is(captured):
    """Calling twice is harmless: no line is written twice."""
    again = configure("json", "error", captured.stream)

    assert again is captured.logs
    logging.getLogger("shop").warning("quiet")
    structlog.get_logger("shop").warning("quiet")
    logging.getLogger("shop").error("loud")
    assert [line["event"] for line in captured.lines] == ["loud"]


def test_close_puts_everything_back():
    before = (logging.root.level, list(logging.root.handlers), structlog.is_configured())
    configure("json", "debug", io.StringIO()).close()

    assert before == (logging.root.level, list(logging.root.handlers), structlog.is_configured())
    assert pipeline._current is None


def test_an_application_that_configured_structlog_keeps_it():
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(out)
    )
    try:
        logs = configure("json", "info", io.StringIO())
        structlog.get_logger().info("mine")
        logs.close()

        assert out.getvalue() == '{"event": "mine"}\n'
        assert structlog.is_configured()
    finally:
        structlog.reset_defaults()


def test_an_application_with_its_own_handlers_keeps_them_and_reads_each_line_once(
    captured, capsys: pytest.CaptureFixture[str]
):
    """dictConfig after us: its console handler prints, ours steps aside, propagation works."""
    logger = logging.getLogger("shop.own")
    handler = logging.StreamHandler(sys.stderr)
    memory = io.StringIO()
    elsewhere = logging.StreamHandler(memory)
    logger.addHandler(handler)
    logging.getLogger("shop.file").addHandler(elsewhere)
    try:
        logging.getLogger("shop.own.child").warning("theirs")
        logging.getLogger("shop.file").warning("both")
    finally:
        logger.removeHandler(handler)
        logging.getLogger("shop.file").removeHandler(elsewhere)

    assert capsys.readouterr().err == "theirs\n"
    assert memory.getvalue() == "both\n"
    assert [line["event"] for line in captured.lines] == ["both"]


def test_dict_config_of_the_application_takes_the_root_and_our_events_still_come(captured):
    handlers, level = list(logging.root.handlers), logging.root.level
    theirs = io.StringIO()
    try:
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"own": {"class": "logging.StreamHandler", "stream": theirs}},
                "root": {"handlers": ["own"], "level": "INFO"},
            }
        )
        logging.getLogger("shop").info("theirs")
        captured.logs.write("error", "database_lost", {"database": "main"})
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)

    assert theirs.getvalue() == "theirs\n"
    assert [line["event"] for line in captured.lines] == ["database_lost"]


@pytest.mark.parametrize("call", [{"format": "xml"}, {"level": "loud"}])
def test_a_wrong_word_is_refused_with_the_choices(call):
    with pytest.raises(ValueError, match="is not one of"):
        configure(**call)
    assert pipeline._current is None
    assert level_number("WARNING") == logging.WARNING


def test_events_can_go_through_the_applications_own_logging(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="holdfast"):
        write_to_standard_library("debug", "request_held", {"path": "/"})
        write_to_standard_library("error", "database_lost", {"database": "main"}, ValueError("gone"))

    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("database_lost database=main\nValueError: gone")


@pytest.mark.slow
def test_what_is_said_last_is_written_when_the_process_ends():
    code = (
        "import logging; from holdfast.telemetry.logs import configure;"
        "configure('json'); logging.getLogger('shop').warning('bye')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False, env={**os.environ}
    )

    assert ended.returncode == 0
    assert b'"event":"bye"' in ended.stderr
