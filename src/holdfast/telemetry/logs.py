"""All log lines through one pipeline: structlog's, the standard library's and holdfast's own.

`configure` puts a handler on the root logger and sets structlog up, unless the application has
done that itself: loggers that an application gave console handlers of its own stay as they are,
and their lines are not printed twice. The owner of the pipeline is the one `Logs` of the process.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from holdfast.context import REQUEST
from holdfast.telemetry.lines import Format, Line, console_text, json_text
from holdfast.telemetry.loggers import (
    LEVELS,
    Gate,
    LastProcessor,
    RootHandler,
    set_up_structlog,
    structlog_ends_in,
)
from holdfast.telemetry.writer import Writer

Choice: TypeAlias = Literal["auto", "console", "json"]


class Logs:
    """The pipeline: takes lines from any thread, one thread writes them. Made by `configure`."""

    def __init__(self, format: Choice, level: str, stream: TextIO | None) -> None:  # noqa: A002
        self.level = logging.INFO
        self.format: Format = "json"  # what `auto` was resolved to
        self._given: TextIO | None = None
        self._text: Callable[[Line], str] = json_text
        self._writer: Writer[Line] = Writer(self._render, _drop_report, self._stream)
        self._handler = RootHandler(self._writer.put)
        self._last = LastProcessor(self._writer.put)
        self._undo: list[Callable[[], None]] = []
        self.change(format, level, stream)

    def change(self, format: Choice, level: str, stream: TextIO | None = None) -> None:  # noqa: A002
        """Change format, level and stream from the next line on; raises ValueError on a wrong word."""
        number = level_number(level)
        if format not in ("auto", "console", "json"):
            raise ValueError(f"log format {format!r} is not one of auto, console, json")
        self._given = stream
        terminal = _is_terminal(self._stream())
        self.level = number
        self.format = format if format != "auto" else "console" if terminal else "json"
        colors = terminal and "NO_COLOR" not in os.environ
        self._text = json_text if self.format == "json" else console_text(colors)
        if self._undo:
            self._apply_level()

    def write(
        self,
        level: str,
        event: str,
        fields: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
        logger: str = "holdfast",
    ) -> None:
        """Hand a structured line over if *level* is told at all. *fields* must not change afterwards."""
        if LEVELS[level] >= self.level:
            self._writer.put((time.time(), level, logger, event, None, fields, error, REQUEST.get()))

    @property
    def dropped(self) -> int:
        """Lines dropped because the queue was full."""
        return self._writer.dropped

    @property
    def lost(self) -> int:
        """Lines that the stream did not take."""
        return self._writer.lost

    @property
    def gate(self) -> Gate | None:
        """Asked before a structlog line of level warning or above goes; None lets all go."""
        return self._last.gate

    @gate.setter
    def gate(self, gate: Gate | None) -> None:
        self._last.gate = gate

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until all lines so far are written; False when *timeout* seconds passed."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Undo `configure` and write what waits; False when that took longer than *timeout* seconds."""
        global _current
        while self._undo:
            self._undo.pop()()
        if _current is self:
            _current = None
        return self._writer.close(timeout)

    def install(self) -> None:
        """Take the root logger and, unless the application has configured it, structlog."""
        root, before = logging.root, logging.root.level
        self._undo.append(lambda: root.setLevel(before))
        root.addHandler(self._handler)
        self._undo.append(lambda: root.removeHandler(self._handler))
        atexit.register(self.flush)
        self._undo.append(lambda: atexit.unregister(self.flush))
        if not structlog.is_configured():
            set_up_structlog(self._last, self.level)
            self._undo.append(self._reset_structlog)
        self._apply_level()

    def _apply_level(self) -> None:
        logging.root.setLevel(self.level)
        if structlog_ends_in(self._last):
            set_up_structlog(self._last, self.level)

    def _reset_structlog(self) -> None:
        if structlog_ends_in(self._last):  # not when the application has configured it since
            structlog.reset_defaults()

    def _render(self, line: Line) -> str:
        return self._text(line)

    def _stream(self) -> TextIO | None:
        return self._given if self._given is not None else sys.stderr


def level_number(level: str) -> int:
    """The standard library's number for *level*; raises ValueError that names the choices."""
    try:
        return LEVELS[level.lower()]
    except KeyError:
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}") from None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _drop_report(count: int) -> Line:
    return (time.time(), "warning", "holdfast", "log_lines_dropped", None, {"lines": count}, None, None)


_current: Logs | None = None


def configure(format: Choice = "auto", level: str = "info", stream: TextIO | None = None) -> Logs:  # noqa: A002
    """Send all log lines through one pipeline; a second call changes the one there is.

    *stream* is standard error when None, `auto` means `console` on a terminal and `json` elsewhere.
    Raises ValueError on an unknown format or level. `Logs.close` undoes it.
    """
    global _current
    if _current is not None:
        _current.change(format, level, stream)
        return _current
    logs = Logs(format, level, stream)
    logs.install()
    _current = logs
    return logs
