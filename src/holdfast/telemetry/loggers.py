"""Where lines come from: the standard library's root handler, and the end of structlog's processors.

Both run in the thread of whoever logs, so they only gather what may change and hand it over.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from itertools import islice
from typing import Any, Final, TypeAlias

import structlog

from holdfast.context import REQUEST
from holdfast.faults.redact import redact_text
from holdfast.telemetry.lines import PLAIN, Line, frozen, frozen_arguments, redacted, shown, traceback_text

Put: TypeAlias = Callable[[Line], None]
Gate: TypeAlias = Callable[[Line, Put], bool]  # whether the line may go now; else the gate keeps or counts it

OURS: Final = "holdfast"  # our own events' logger: what it says has been counted already

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_NAMES: Final = {number: name for name, number in LEVELS.items()}
_HEAVY: Final = frozenset({"warning", "error", "critical"})
_BLANK: Final = logging.LogRecord("", 0, "", 0, "", None, None).__dict__
_STANDARD: Final = frozenset(_BLANK) | {"message", "asctime", "color_message"}


class RootHandler(logging.Handler):
    """The root logger's handler: hands records over and holds no lock."""

    def __init__(self, put: Put) -> None:
        super().__init__()
        self._put = put

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand *record* over unless a console handler of the application's own has shown it."""
        try:
            if not shown_elsewhere(record.name):
                self._put(line_of(record))
        except Exception:  # noqa: BLE001 - the standard library's way to report it and go on
            self.handleError(record)
        return True


def line_of(record: logging.LogRecord) -> Line:
    """A standard-library record as a line."""
    known, message = record.__dict__, record.msg
    fields = _added(known) if len(known) > len(_BLANK) else None
    if record.stack_info:
        fields = {**(fields or {}), "stack": record.stack_info}
    if type(message) is dict:  # structlog on top of the standard library
        fields = {**(fields or {}), **frozen(message)}
        message = fields.pop("event", "")
    level = _NAMES.get(record.levelno) or record.levelname.lower()
    error = record.exc_info[1] if record.exc_info else record.exc_text
    text = message if type(message) is str else shown(message)
    arguments = frozen_arguments(record.args)
    return (record.created, level, record.name, text, arguments, fields, error, REQUEST.get())


def _added(known: dict[str, Any]) -> dict[str, Any]:
    """What the application added to a record. All but odd cases go past Python's own loops."""
    added = dict(islice(known.items(), len(_BLANK), None))  # a record begins with the standard's own
    if not _STANDARD.isdisjoint(added):
        added = {key: value for key, value in known.items() if key not in _STANDARD}
    if PLAIN.issuperset(map(type, added.values())):
        return added
    return {key: frozen(value) for key, value in added.items()}


def shown_elsewhere(name: str) -> bool:
    """Whether the application itself gave logger *name*, or one above it, a handler for the console."""
    found = logging.root.manager.loggerDict.get(name)
    logger: logging.Logger | None = found if isinstance(found, logging.Logger) else logging.root
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, RootHandler) and _is_console(handler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _is_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    if stream is None:
        return type(handler).__name__ == "RichHandler"
    return stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)


def write_to_standard_library(
    level: str, event: str, fields: Mapping[str, Any] | None = None, error: BaseException | None = None
) -> None:
    """Tell an event through the application's own logging, redacted, where `configure` is not wanted."""
    logger = logging.getLogger(OURS)
    if not logger.isEnabledFor(LEVELS[level]):
        return
    pairs = redacted(fields or {}).items()
    text = " ".join([event, *(f"{key}={value}" for key, value in pairs)])
    if error is not None:
        text = f"{text}\n{redact_text(traceback_text(error))}"
    logger.log(LEVELS[level], "%s", text)


class Mouth:
    """What structlog calls at the end of its processors, whatever the level's method is called."""

    __slots__ = ("_put", "name")

    def __init__(self, put: Put, name: str) -> None:
        self._put = put
        self.name = name

    def __getattr__(self, level: str) -> Put:
        return self._put


class LastProcessor:
    """Turns structlog's event into a line, unless the gate keeps it back."""

    __slots__ = ("gate", "put")

    def __init__(self, put: Put) -> None:
        self.put = put
        self.gate: Gate | None = None

    def __call__(
        self, logger: Any, level: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[Line], dict[str, Any]]:
        """The line as the only argument of the logger's method; raises DropEvent when kept back."""
        message = event.pop("event", "")
        error = error_of(event.pop("exc_info", None))
        for value in event.values():
            if type(value) not in PLAIN:
                event = frozen(dict(event))
                break
        text = message if type(message) is str else shown(message)
        named = level if level in LEVELS else _METHODS.get(level, "info")
        line: Line = (time.time(), named, logger.name, text, None, event, error, REQUEST.get())
        if self.gate is not None and named in _HEAVY and not self.gate(line, self.put):
            raise structlog.DropEvent
        return (line,), {}


_METHODS: Final = {"exception": "error", "fatal": "critical", "warn": "warning", "err": "error"}


def error_of(given: Any) -> BaseException | None:
    """The exception that structlog's `exc_info` means: one, a tuple, or whichever is handled now."""
    if not given:
        return None
    if isinstance(given, BaseException):
        return given
    return given[1] if isinstance(given, tuple) else sys.exc_info()[1]


def set_up_structlog(last: LastProcessor, level: int) -> None:
    """Let structlog's loggers of *level* and above end in *last*."""

    def mouth(*names: Any) -> Mouth:
        return Mouth(last.put, str(names[0]) if names and names[0] else "app")

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=mouth,
        cache_logger_on_first_use=False,  # a later change of level, and the undoing, reach every logger
    )


def structlog_ends_in(last: LastProcessor) -> bool:
    """Whether structlog is set up as `set_up_structlog` left it."""
    return last in structlog.get_config()["processors"]
