"""Which paths the application answers itself: its own routes win over ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_INSIDE = ("app", "other_asgi_app", "asgi_app", "application", "_app")
_DEEPEST = 8


def own_paths(app: Any) -> frozenset[str] | None:
    """The literal paths *app* routes, through wrappers and mounts; None when it has no route table.

    Paths with parameters are left out: a catch-all that serves a single-page application is not a
    health endpoint.
    """
    for candidate in _unwrapped(app):
        routes = getattr(candidate, "routes", None)
        if isinstance(routes, list | tuple):
            return frozenset(path for path in _paths(routes, "", 0) if "{" not in path)
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
        inner = getattr(route, "routes", None)
        if isinstance(inner, list | tuple) and inner and depth < _DEEPEST:
            yield from _paths(inner, prefix + path.rstrip("/"), depth + 1)
        elif getattr(route, "endpoint", None) is not None or hasattr(route, "path_format"):
            yield prefix + path
