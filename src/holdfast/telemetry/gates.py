"""The places where every log record passes and asks `Incidents`: fails open, can be undone.

Applications install handlers of their own, so the one place that sees all standard-library
records is `logging.Logger.handle`: it is wrapped once, at class level, and the wrapper costs one
comparison for records below warning. structlog's lines ask at the end of our own processors; where
the application has chosen others, the way of every logger's methods is `_proxy_to_logger`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import copy_context
from typing import Any, Final

import structlog

from holdfast.telemetry.counting import Fingerprint, template
from holdfast.telemetry.incidents import Incidents, Said
from holdfast.telemetry.lines import Line, frozen_arguments, shown
from holdfast.telemetry.loggers import OURS, Gate, Mouth, Put, error_of

_handle: Final = logging.Logger.handle
_proxy: Final = structlog.BoundLoggerBase._proxy_to_logger
_HEAVY_METHODS: Final = {
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "err": "error",
    "exception": "error",
    "critical": "critical",
    "fatal": "critical",
}
_active: Incidents | None = None
_complained = False


def install(incidents: Incidents) -> None:
    """Let *incidents* decide on all heavy records of the standard library from now on."""
    global _active
    _active = incidents
    if logging.Logger.handle is _handle:
        logging.Logger.handle = _handle_unless_kept  # type: ignore[method-assign]
    if structlog.BoundLoggerBase._proxy_to_logger is _proxy:
        structlog.BoundLoggerBase._proxy_to_logger = _proxy_unless_kept  # type: ignore[method-assign]


def uninstall(incidents: Incidents) -> None:
    """Undo `install` if *incidents* is what decides; a wrapper that others have wrapped only steps aside."""
    global _active
    if _active is not incidents:
        return
    _active = None
    if logging.Logger.handle is _handle_unless_kept:
        logging.Logger.handle = _handle  # type: ignore[method-assign]
    if structlog.BoundLoggerBase._proxy_to_logger is _proxy_unless_kept:
        structlog.BoundLoggerBase._proxy_to_logger = _proxy  # type: ignore[method-assign]


def line_gate(incidents: Incidents) -> Gate:
    """What `Logs.gate` wants: keeps structlog's lines back by the same rule."""

    def gate(line: Line, put: Put) -> bool:
        try:
            return incidents.admit(_said_by_structlog(line, put))
        except Exception:  # noqa: BLE001 - fails open
            _complain()
            return True

    return gate


def _handle_unless_kept(self: logging.Logger, record: logging.LogRecord) -> None:
    incidents = _active
    if incidents is not None and (record.levelno >= logging.WARNING or record.exc_info):
        try:
            if not self.disabled and record.name != OURS and not incidents.admit(_said(self, record)):
                return
        except Exception:  # noqa: BLE001 - fails open
            _complain()
    _handle(self, record)


def _proxy_unless_kept(self: Any, method_name: str, event: Any = None, **fields: Any) -> Any:
    incidents = _active
    level = _HEAVY_METHODS.get(method_name)
    if incidents is not None and level is not None and not isinstance(self._logger, (logging.Logger, Mouth)):
        try:
            if not incidents.admit(_said_by_own_structlog(self, level, event, fields)):
                return None
        except Exception:  # noqa: BLE001 - fails open
            _complain()
    return _proxy(self, method_name, event, **fields)


def _said_by_own_structlog(logger: Any, level: str, event: Any, fields: dict[str, Any]) -> Said:
    """What processors of the application's own are to make of it, once it may be told."""
    error = error_of(fields.get("exc_info"))
    if error is not None:
        fields = {**fields, "exc_info": error}  # by then nobody handles it any more
    context = copy_context()
    kind = None if error is None else type(error).__qualname__

    def full() -> None:
        context.run(_proxy, logger, level, event, **fields)

    def counted(note: str) -> None:
        brief = {name: value for name, value in fields.items() if name != "exc_info"}
        context.run(_proxy, logger, level, f"{event} ({note})", **brief)

    fingerprint = Fingerprint("structlog", level, kind, template(shown(event)))
    return Said(fingerprint, error, full, counted)


def _said(logger: logging.Logger, record: logging.LogRecord) -> Said:
    error = record.exc_info[1] if record.exc_info else None
    kind = None if error is None else type(error).__qualname__
    fingerprint = Fingerprint(record.name, record.levelname.lower(), kind, template(shown(record.msg)))

    def full() -> None:
        _handle(logger, record)

    def counted(note: str) -> None:
        text = f"{_text(record)} ({note})"
        line = logging.LogRecord(
            record.name, record.levelno, record.pathname, record.lineno, text, None, None, record.funcName
        )
        _handle(logger, line)

    record.args = frozen_arguments(record.args) or ()
    return Said(fingerprint, error, full, counted)


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - wrong arguments: logging itself complains of the full record
        return shown(record.msg)


def _said_by_structlog(line: Line, put: Put) -> Said:
    wall, level, logger, message, arguments, fields, error, request = line
    kind = type(error).__qualname__ if isinstance(error, BaseException) else None

    def counted(note: str) -> None:
        put((wall, level, logger, f"{message} ({note})", arguments, fields, None, request))

    fingerprint = Fingerprint(logger, level, kind, template(message))
    return Said(fingerprint, error if isinstance(error, BaseException) else None, lambda: put(line), counted)


def _complain() -> None:
    """Say once that holding back does not work."""
    global _complained
    if not _complained:
        _complained = True
        traceback.print_exc(file=sys.__stderr__)
