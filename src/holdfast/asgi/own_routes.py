"""Which paths the application answers itself: its own routes win over ours.

a literal path                                           that path
with parameters                                          what they can stand for
a mount whose routes can be seen                         those
a mount of anything else                                 all below it
parameters alone, or a mount of anything else at "/"     nothing of ours

The last is what serves a single-page application: it names no page, and would take all of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

_INSIDE = ("app", "other_asgi_app", "asgi_app", "application", "_app")
_DEEPEST = 8
_PARAMETER = re.compile(r"\{[^/{}:]*(?::([^/{}]*))?\}")
_REST = "/{rest:path}"
_STANDS_FOR = {
    "path": ".*",
    "int": "[0-9]+",
    "float": r"[0-9]+(?:\.[0-9]+)?",
    "uuid": "[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}",
}


def own_paths(app: Any, among: Iterable[str]) -> frozenset[str] | None:
    """Those *among* the paths that *app* routes itself, through wrappers and mounts.

    None when it has no route table.
    """
    routes = _table(app)
    if routes is None:
        return None
    named = [pattern for path in _paths(routes, "", 0) if (pattern := _pattern(path)) is not None]
    return frozenset(one for one in among if any(pattern.fullmatch(one) for pattern in named))


def _pattern(path: str) -> re.Pattern[str] | None:
    """What *path* matches; None when it names nothing."""
    if not _PARAMETER.sub("", path).strip("/"):
        return None
    pattern, end = "", 0
    for part in _PARAMETER.finditer(path):
        pattern += re.escape(path[end : part.start()]) + _STANDS_FOR.get(part[1] or "", "[^/]+")
        end = part.end()
    return re.compile(pattern + re.escape(path[end:]), re.DOTALL)


def _table(app: Any) -> Any:
    """The routes of *app*, or of the first one inside it that has any; None without."""
    for candidate in _unwrapped(app):
        routes = getattr(candidate, "routes", None)
        if isinstance(routes, list | tuple):
            return routes
    return None


def _unwrapped(app: Any) -> Iterator[Any]:
    for _ in range(_DEEPEST):
        yield app
        inner = next((getattr(app, name) for name in _INSIDE if callable(getattr(app, name, None))), None)
        if inner is None:
            return
        app = inner


def _paths(routes: Any, prefix: str, depth: int) -> Iterator[str]:
    for route in routes:
        included = getattr(getattr(route, "original_router", None), "routes", None)
        if isinstance(included, list | tuple) and depth < _DEEPEST:  # FastAPI keeps routers whole
            given = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from _paths(included, prefix + given, depth + 1)
            continue
        path = getattr(route, "path", None)
        if not isinstance(path, str):
            continue
        inner = _mounted(route)
        if isinstance(inner, list | tuple) and depth < _DEEPEST:
            yield from _paths(inner, prefix + path.rstrip("/"), depth + 1)
        elif inner is not None:
            yield prefix + path.rstrip("/") + _REST
        elif getattr(route, "endpoint", None) is not None or hasattr(route, "path_format"):
            yield prefix + path


def _mounted(route: Any) -> Any:
    """What *route* mounts: its routes, or itself where none can be seen; None when it mounts nothing."""
    inner = getattr(route, "routes", None)
    if isinstance(inner, list | tuple) and inner:
        return inner
    if getattr(getattr(route, "route_handler", None), "is_mount", False):  # Litestar
        return route
    app = getattr(route, "app", None)
    if getattr(route, "endpoint", None) is not None or not callable(app):
        return None
    table = _table(app)
    return route if table is None else table
