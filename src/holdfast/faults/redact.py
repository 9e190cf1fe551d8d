"""Secrets removed from any value that is told: structures, text, URLs and headers.

`redact`, `redact_text`, `redact_url` and `redact_headers` are total: they take whatever they are
given, never raise, never change their argument, and when in doubt hide too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdfast.faults.cards import is_card
from holdfast.faults.rules import DEFAULT_RULES, Rules
from holdfast.faults.texts import redact_text
from holdfast.faults.urls import mask_url

__all__ = ["DEFAULT_RULES", "Rules", "redact", "redact_headers", "redact_text", "redact_url"]

_CUT = "…"
_CYCLE = "<cycle>"
_LARGE = 10**19  # more than any number of a card
_MOST_BITS = 2048  # of an integer that is told: Python refuses to write one that is much longer


def redact(value: object, rules: Rules = DEFAULT_RULES) -> object:
    """A copy of *value* that holds no secret, made of dicts, lists, strings, numbers and None."""
    try:
        return _Walk(rules).copy(value, 0)
    except Exception:  # noqa: BLE001 - what cannot even be looked at is not told
        return _unreadable(value)


def redact_url(url: str, rules: Rules = DEFAULT_RULES) -> str:
    """*url* without its password: ``postgresql://app:***@db:5432/shop``; anything else as text."""
    return redact_text(mask_url(url, rules.mask), rules)


def redact_headers(
    headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]], rules: Rules = DEFAULT_RULES
) -> dict[str, str]:
    """*headers*, as str or as ASGI's bytes, with secret ones masked; repeated ones are joined."""
    try:
        return _headers(headers.items() if isinstance(headers, Mapping) else headers, rules)
    except Exception:  # noqa: BLE001 - what cannot even be looked at is not told
        return {_CUT: _unreadable(headers)}


def _headers(pairs: Iterable[tuple[Any, Any]], rules: Rules) -> dict[str, str]:
    redacted: dict[str, str] = {}
    for name, value in pairs:
        header = _decoded(name)
        told = rules.mask if rules.secret(header) else redact_text(_decoded(value), rules)
        redacted[header] = f"{redacted[header]}, {told}" if header in redacted else told
    return redacted


class _Walk:
    """One copy under way; it owns the path it stands on and the count of what it has copied."""

    __slots__ = ("_left", "_path", "_rules")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._left = rules.most
        self._path: set[int] = set()

    def copy(self, value: object, depth: int) -> object:
        self._left -= 1
        if self._left < 0:
            return _CUT
        if value is None or isinstance(value, (bool, float)):
            return value
        try:
            if isinstance(value, str):
                return redact_text(str.__str__(value), self._rules)
            if isinstance(value, int):
                return self._number(value)
            if isinstance(value, (bytes, bytearray, memoryview)):
                return f"<{len(value)} bytes>"
            if isinstance(value, Mapping):
                return self._enter(value, depth, self._mapping)
            if isinstance(value, (list, tuple, set, frozenset)):
                return self._enter(value, depth, self._sequence)
            return redact_text(str(value), self._rules)
        except Exception:  # noqa: BLE001 - what cannot be looked at hides itself only
            return _unreadable(value)

    def _number(self, value: int) -> object:
        if -_LARGE < value < _LARGE:
            return self._rules.mask if value > 10**12 and is_card(str(int(value))) else value
        bits = value.bit_length()
        return value if bits <= _MOST_BITS else f"<int of {bits} bits>"

    def _enter(self, value: Any, depth: int, copy: Callable[[Any, int], object]) -> object:
        if depth >= self._rules.deepest:
            return _CUT
        if id(value) in self._path:
            return _CYCLE
        self._path.add(id(value))
        try:
            return copy(value, depth + 1)
        finally:
            self._path.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[Any, object]:
        copied: dict[Any, object] = {}
        also = self._also_secret(value)
        for key, one in value.items():
            if self._left <= 0:
                copied[_CUT] = _CUT
                break
            name = _decoded(key) if isinstance(key, (str, bytes)) else key
            secret = isinstance(name, str) and (self._rules.secret(name) or name in also)
            copied[self._key(name)] = self._masked(one) if secret else self.copy(one, depth)
        return copied

    def _sequence(self, value: Any, depth: int) -> list[object]:
        if isinstance(value, (list, tuple)):
            if len(value) == 2 and self._names_secret(value[0]):  # a header, as ASGI and clients keep it
                return [_decoded(value[0]), self._masked(value[1])]
            if fields := getattr(value, "_fields", None):  # a named tuple
                return list(self._mapping(dict(zip(fields, value, strict=False)), depth).values())
        copied: list[object] = []
        for one in value:
            if self._left <= 0:
                copied.append(_CUT)
                break
            copied.append(self.copy(one, depth))
        return copied

    def _also_secret(self, value: Mapping[Any, Any]) -> frozenset[str]:
        """Names whose values are secret in *value* only.

        It may be a validation error of a field that is a secret, which gives the input back, or a name
        and its value under names of their own.
        """
        if _TELLING.isdisjoint(value):
            return _NONE
        place = value.get("loc")
        if isinstance(place, (list, tuple)) and any(map(self._names_secret, place)):
            return _ECHOES
        return _VALUES if any(self._names_secret(value.get(one)) for one in _CALLED) else _NONE

    def _names_secret(self, name: object) -> bool:
        return isinstance(name, (str, bytes)) and self._rules.secret(_decoded(name))

    def _masked(self, value: object) -> object:
        """What stands for a secret; whether there is one at all is none."""
        return value if value is None or isinstance(value, bool) else self._rules.mask

    def _key(self, name: object) -> object:
        try:
            if isinstance(name, str):
                return redact_text(str.__str__(name), self._rules)
            if name is None or isinstance(name, (bool, float)):
                return name
            return self._number(name) if isinstance(name, int) else redact_text(str(name), self._rules)
        except Exception:  # noqa: BLE001 - what cannot be looked at hides itself only
            return _unreadable(name)


_NONE: frozenset[str] = frozenset()
_ECHOES = frozenset({"input", "ctx", "msg"})
_CALLED = ("name", "Name", "key", "Key", "field", "Field", "header", "parameter", "param", "variable")
_VALUES = frozenset(
    {"value", "Value", "values", "Values", "val", "old", "new", "old_value", "new_value", "before", "after"}
)
_TELLING = _VALUES | {"loc"}


def _decoded(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, bytearray)) else str(value)


def _unreadable(value: object) -> str:
    return f"<{type(value).__name__}>"
