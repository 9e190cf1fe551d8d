"""Secrets removed from any value that is told: structures, text, URLs and headers.

`redact`, `redact_text`, `redact_url` and `redact_headers` are total: they take whatever they are
given, never raise, never change their argument, and when in doubt hide too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdfast.faults.rules import DEFAULT_RULES, Rules
from holdfast.faults.texts import is_card, redact_text
from holdfast.faults.urls import mask_url

__all__ = ["DEFAULT_RULES", "Rules", "redact", "redact_headers", "redact_text", "redact_url"]

_CUT = "…"
_CYCLE = "<cycle>"


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
        if isinstance(value, int):
            return self._rules.mask if value > 10**12 and is_card(str(int(value))) else value
        if isinstance(value, str):
            return redact_text(str.__str__(value), self._rules)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"<{len(value)} bytes>"
        if isinstance(value, Mapping):
            return self._enter(value, depth, self._mapping)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._enter(value, depth, self._sequence)
        return redact_text(str(value), self._rules)

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
        echoed = self._echoes(value)
        for key, one in value.items():
            if self._left <= 0:
                copied[_CUT] = _CUT
                break
            name = _decoded(key) if isinstance(key, (str, bytes)) else key
            secret = isinstance(name, str) and (self._rules.secret(name) or (echoed and name in _ECHOES))
            copied[self._key(name)] = self._masked(one) if secret else self.copy(one, depth)
        return copied

    def _sequence(self, value: Any, depth: int) -> list[object]:
        pair = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], (str, bytes))
        if pair and self._rules.secret(_decoded(value[0])):  # a header, as ASGI and clients keep it
            return [_decoded(value[0]), self._masked(value[1])]
        copied: list[object] = []
        for one in value:
            if self._left <= 0:
                copied.append(_CUT)
                break
            copied.append(self.copy(one, depth))
        return copied

    def _echoes(self, value: Mapping[Any, Any]) -> bool:
        """Whether *value* is a validation error of a field that is a secret: it gives the input back."""
        place = value.get("loc")
        return isinstance(place, (list, tuple)) and any(
            isinstance(one, str) and self._rules.secret(one) for one in place
        )

    def _masked(self, value: object) -> object:
        """What stands for a secret; whether there is one at all is none."""
        return value if value is None or isinstance(value, bool) else self._rules.mask

    def _key(self, name: object) -> object:
        if isinstance(name, str):
            return redact_text(str.__str__(name), self._rules)
        return (
            name
            if name is None or isinstance(name, (bool, int, float))
            else redact_text(str(name), self._rules)
        )


_ECHOES = frozenset({"input", "ctx", "msg"})


def _decoded(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, bytearray)) else str(value)


def _unreadable(value: object) -> str:
    return f"<{type(value).__name__}>"
