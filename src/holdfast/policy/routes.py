"""Routes named in settings: `POST /orders`, `PUT /items/{id}`, `* /api/*`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Self

_ROUTE = re.compile(r"\s*([A-Za-z]+|\*)\s+(/\S*)\s*\Z")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY")
_PART = re.compile(r"\{[^/{}]*\}|\*\Z")


class UnknownMethodError(ValueError):
    """A route was written with a method that does not exist; `meant` is the nearest that does, or None."""

    def __init__(self, name: str, meant: str | None) -> None:
        hint = f"; did you mean {meant}?" if meant else f": it must be {', '.join(_METHODS)} or *"
        super().__init__(f"{name!r} has a method that nobody sends{hint}")
        self.meant = meant


class Routes:
    """A set of routes. `{name}` stands for one segment of a path, a final `*` for the rest of it."""

    __slots__ = ("_exact", "_patterns", "names")

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Raises ValueError naming the first one that is no route."""
        self.names = tuple(names)
        self._exact: set[tuple[str, str]] = set()
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        for name in self.names:
            self._add(name)

    @classmethod
    def written(cls, names: Iterable[str]) -> Self:
        """Those that a person wrote down: a method that does not exist is a slip, and matches nothing.

        An application may define methods of its own; `*` is for those. Raises ValueError.
        """
        found = cls(names)
        for name in found.names:
            method = name.split()[0].upper()
            if method not in ("*", *_METHODS):
                import difflib  # only a mistake pays for it

                near = difflib.get_close_matches(method, _METHODS, n=1, cutoff=0.6)
                raise UnknownMethodError(name, near[0] if near else None)
        return found

    def _add(self, name: str) -> None:
        match = _ROUTE.match(name)
        if match is None:
            message = f"{name!r} is no route; write a method and a path, such as POST /orders"
            raise ValueError(message)
        method, path = match[1].upper(), match[2]
        if method != "*" and not _PART.search(path):
            self._exact.add((method, path))
            return
        pattern, end = "", 0
        for part in _PART.finditer(path):
            pattern += re.escape(path[end : part.start()]) + (".*" if part[0] == "*" else "[^/]+")
            end = part.end()
        self._patterns.append((method, re.compile(pattern + re.escape(path[end:]))))

    def __repr__(self) -> str:
        return f"Routes({', '.join(self.names)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Routes) and other.names == self.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __bool__(self) -> bool:
        return bool(self.names)

    def __contains__(self, route: tuple[str, str]) -> bool:
        """Whether `(method, path)` is one of them."""
        if route in self._exact:
            return True
        method, path = route
        return any(
            wanted in ("*", method) and pattern.fullmatch(path) is not None
            for wanted, pattern in self._patterns
        )
