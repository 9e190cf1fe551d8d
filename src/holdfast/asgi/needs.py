"""Which routes need which database: learned from what their requests asked for."""

from __future__ import annotations

import re
from functools import lru_cache

_BOUND = 4096
_VARIABLE = re.compile(r"\d|^[0-9a-fA-F-]{16,}$|^.{33,}$|@")


@lru_cache(maxsize=_BOUND)
def shape(path: str) -> str:
    """*path* with the segments that look like values (numbers, ids, addresses) taken out."""
    return "/".join("{}" if _VARIABLE.search(part) else part for part in path.split("/"))


class Needs:
    """What each route asked for so far. A route that once did without a database does not need it."""

    __slots__ = ("_known", "_mixed")

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str]] = {}
        self._mixed: set[tuple[str, str]] = set()  # need none, but have asked for some

    def of(self, method: str, path: str) -> frozenset[str]:
        """Names of the databases that every request of this route has asked for so far."""
        return self._known.get((method, shape(path)), frozenset())

    def none(self, method: str, path: str) -> bool:
        """Whether every request of the route so far did without any."""
        route = (method, shape(path))
        return self._known.get(route) == frozenset() and route not in self._mixed

    def learn(self, method: str, path: str, asked_for: set[str]) -> None:
        """A request of the route has ended well, having asked for these."""
        route = (method, shape(path))
        known = self._known.get(route)
        if known is None:
            if len(self._known) < _BOUND:
                self._known[route] = frozenset(asked_for)
        elif not known:
            if asked_for:
                self._mixed.add(route)
        elif not known <= asked_for:
            self._known[route] = known & asked_for
            self._mixed.add(route)
