"""Lines of a structlog that the application has set up itself (LOG-5, ERR-3)."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture
def printed() -> Iterator[io.StringIO]:
    """What an application's own structlog prints; as Litestar's plugin does, it caches its loggers."""
    stream = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    yield stream
    structlog.reset_defaults()


def test_what_a_replayed_attempt_logged_is_dropped(told, printed, under_way) -> None:
    log = structlog.get_logger()
    request = under_way(fault=True)
    log.info("passes")
    log.error("kept")
    told.forget(request)

    assert printed.getvalue() == "event='passes' level='info'\n"


def test_what_an_answered_request_logged_is_told_as_it_would_have_been(told, printed, under_way) -> None:
    log = structlog.get_logger().bind(shop=1)
    request = under_way(fault=True)
    structlog.contextvars.bind_contextvars(page=2)
    try:
        raise OSError("gone")
    except OSError:
        log.exception("failed")
    structlog.contextvars.clear_contextvars()
    assert printed.getvalue() == ""
    told.release(request)

    first = printed.getvalue()
    assert "event='failed'" in first
    assert "shop=1" in first
    assert "page=2" in first
    assert "OSError: gone" in first


def test_many_of_a_kind_are_one_and_a_number(told, printed, under_way, clock) -> None:
    log = structlog.get_logger()
    for _ in range(3):
        request = under_way(fault=True)
        log.error("failed", exc_info=OSError("gone"))
        told.release(request)
        clock.jump(5.0)

    lines = [line for line in printed.getvalue().splitlines() if line.startswith("event=")]
    assert len(lines) == 2
    assert "(2 times in 10.0 s)" in lines[1]


def test_without_a_fault_nothing_is_kept(told, printed, under_way) -> None:
    under_way()
    structlog.get_logger().error("told")

    assert "told" in printed.getvalue()


def test_what_ends_in_the_standard_library_is_judged_once(told, under_way) -> None:
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs], logger_factory=structlog.stdlib.LoggerFactory()
    )
    try:
        request = under_way(fault=True)
        structlog.get_logger("shop").error("kept")
        told.forget(request)
    finally:
        structlog.reset_defaults()

    assert told.forgotten == 1
