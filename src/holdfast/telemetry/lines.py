"""A log line: the small tuple that callers hand over, and its text for people or for machines.

Taking a line (`frozen`) happens in the caller's thread and must be quick; everything that costs
(formatting, tracebacks, redaction, device types) happens in `fields_of`, in the writer's thread.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import orjson

from holdfast.context import Request
from holdfast.faults.redact import redact, redact_text
from holdfast.telemetry.device import device_type

Format: TypeAlias = Literal["console", "json"]

# wall time, level, logger, message, its arguments, fields, exception, request under way
Line: TypeAlias = tuple[
    float, str, str, str, Any, Mapping[str, Any] | None, BaseException | str | None, Request | None
]

# What cannot change between handing over and writing, and runs no application code when shown.
PLAIN: Final = frozenset(
    {str, int, float, bool, type(None), bytes, UUID, datetime, date, timedelta, Decimal, Fraction, complex}
)
DEEPEST: Final = 6
SHORT: Final = 200  # characters of a text whose redaction is remembered
LONGEST_TRACEBACK: Final = 64 * 1024  # characters; the end is what matters


def frozen(value: Any, depth: int = 0) -> Any:
    """*value* as it is now: later changes do not show, and no code of the application runs later."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if depth < DEEPEST:
        if kind is dict:
            return {_key(key): frozen(one, depth + 1) for key, one in list(value.items())}
        if kind in {list, tuple, set, frozenset}:
            return [frozen(one, depth + 1) for one in list(value)]
    if isinstance(value, PurePath):
        return str(value)
    return shown(value)


def frozen_arguments(arguments: Any) -> Any:
    """The arguments of a standard-library record, made safe to format in another thread."""
    if not arguments:
        return None
    if isinstance(arguments, tuple):
        for one in arguments:
            if type(one) not in PLAIN:
                return tuple(_argument(each) for each in arguments)
        return arguments
    return {key: _argument(value) for key, value in arguments.items()}


class _Shown(str):
    """Text that stands for a value: `%r` must not quote it once more."""

    __slots__ = ()
    __repr__ = str.__str__


def _argument(value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, int | float):  # bool's and int's kin (enums, HTTPStatus): %d works on them
        return value
    return _Shown(shown(value))


def shown(value: Any) -> str:
    """`str(value)`, whatever it does."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a log line must not fail on what it shows
        return f"<{type(value).__name__} that raises {type(error).__name__} when shown>"


def _key(key: Any) -> str:
    return key if type(key) is str else shown(key)


def fields_of(line: Line) -> dict[str, Any]:
    """The line as a redacted mapping: timestamp, level, logger, event, request, fields, exception."""
    wall, level, logger, message, arguments, fields, error, request = line
    told: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(wall, UTC),
        "level": level,
        "logger": logger,
        "event": _redacted_text(_formatted(message, arguments).rstrip()),
    }
    if request is not None:
        told["request_id"] = request.id
        told["method"] = request.method
        told["path"] = _redacted_text(request.path)
        if request.user_id is not None:
            told["user_id"] = request.user_id
    if fields:
        for key, value in redacted(fields).items():
            told.setdefault(key, value)
        if "user_agent" in fields:
            told["device"] = device_type(fields["user_agent"])
    if error is not None:
        text = error if isinstance(error, str) else traceback_text(error)
        told["exception"] = redact_text(_last_lines(text))
    return told


def _last_lines(text: str) -> str:
    """The end of *text* in whole lines: half a line could be half a secret, which nobody recognises."""
    if len(text) <= LONGEST_TRACEBACK:
        return text
    return text[-LONGEST_TRACEBACK:].partition("\n")[2]


def redacted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """*fields* without secrets; one field when they cannot even be looked at."""
    told = redact(fields)
    return told if isinstance(told, dict) else {"fields": told}


def _redacted_text(text: str) -> str:
    """`redact_text`, which most texts come to again and again: the same messages, the same paths."""
    return _redacted_short(text) if len(text) <= SHORT else redact_text(text)


_redacted_short: Final = lru_cache(maxsize=1024)(redact_text)


def _formatted(message: str, arguments: Any) -> str:
    if not arguments:
        return message
    try:
        text: str = message % arguments
    except Exception:  # noqa: BLE001 - wrong arguments still make a line
        return f"{message} {arguments!r}"
    return text


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, with causes, without its final newline."""
    try:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception as broken:  # noqa: BLE001 - exceptions may raise when shown
        return f"{type(error).__name__} (it raises {type(broken).__name__} when shown)"


def json_text(line: Line) -> str:
    """One line of JSON, with its newline."""
    told = fields_of(line)
    told["timestamp"] = told["timestamp"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        text = orjson.dumps(told, default=shown, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):  # lone surrogates, integers beyond 64 bits, cycles
        text = json.dumps({str(key): shown(value) for key, value in told.items()})
    return text + "\n"


def console_text(colors: bool) -> Callable[[Line], str]:
    """A renderer of lines for people: local time, level, message, fields, traceback below."""
    from structlog.dev import ConsoleRenderer, plain_traceback

    render = ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)

    def text(line: Line) -> str:
        told = {key: _harmless(value) for key, value in fields_of(line).items()}
        told["timestamp"] = told["timestamp"].astimezone().strftime("%H:%M:%S.%f")[:-3]
        told["event"] = told["event"].replace("\n", "\n    ")
        return f"{render(None, told['level'], told)}\n"

    return text


# A terminal obeys control characters, and some come from clients.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\n\t"}


def _harmless(value: Any) -> Any:
    return value.translate(_CONTROLS) if isinstance(value, str) else value
