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

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], frozenset[str]] = {}

    def of(self, method: str, path: str) -> frozenset[str]:
        """Names of the databases that every request of this route has asked for so far."""
        return self._known.get((method, shape(path)), frozenset())

    def none(self, method: str, path: str) -> bool:
        """Whether the route is known to do without any."""
        return self._known.get((method, shape(path))) == frozenset()

    def learn(self, method: str, path: str, asked_for: set[str]) -> None:
        """A request of the route has ended well, having asked for these."""
        route = (method, shape(path))
        known = self._known.get(route)
        if known is None:
            if len(self._known) < _BOUND:
                self._known[route] = frozenset(asked_for)
        elif known and not known <= asked_for:
            self._known[route] = known & asked_for
