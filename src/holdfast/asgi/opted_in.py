"""Which routes of an application opted in to the journal: those whose endpoint bears `@journaled`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.asgi.journaling import MARKED

_INSIDE = ("app", "other_asgi_app", "asgi_app", "application", "_app")
_DEEPEST = 8
_VERBS = ("POST", "PUT", "PATCH", "DELETE", "GET")


def opted_in(app: Any) -> tuple[str, ...]:
    """Their names, as `Routes` takes them: `POST /orders/{number}`. None without a route table."""
    found = (
        f"{method} {_simple(path)}"
        for path, route in routes_of(app) or ()
        for method in sorted(_methods(route))
    )
    return tuple(dict.fromkeys(found))


def owns(app: Any, path: str) -> bool | None:
    """Whether *app* routes anything at or below *path*; None when it has no route table."""
    routes = routes_of(app)
    if routes is None:
        return None
    return any(one == path or one.startswith(f"{path}/") for one, _ in routes)


def routes_of(app: Any) -> list[tuple[str, Any]] | None:
    """Each route of *app* with its whole path, through wrappers and mounts; None when it has no table."""
    for _ in range(_DEEPEST):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return list(_walk(routes, "", 0))
        inner = next((getattr(app, name) for name in _INSIDE if callable(getattr(app, name, None))), None)
        if inner is None:
            return None
        app = inner
    return None


def _walk(routes: Any, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEEPEST:
        return
    for route in routes:
        included = getattr(getattr(route, "original_router", None), "routes", None)
        if isinstance(included, list | tuple):  # FastAPI keeps routers whole
            given = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from _walk(included, prefix + given, depth + 1)
            continue
        path = getattr(route, "path", None)
        if not isinstance(path, str):
            continue
        inner = getattr(route, "routes", None)
        if isinstance(inner, list | tuple) and inner:
            yield from _walk(inner, prefix + path.rstrip("/"), depth + 1)
        else:
            yield prefix + path, route


def _methods(route: Any) -> set[str]:
    """The methods of *route* that are marked."""
    handlers = getattr(route, "route_handlers", None)
    if handlers is not None:  # Litestar
        marked = [one for one in handlers if getattr(getattr(one, "fn", None), MARKED, False)]
        return {str(method) for one in marked for method in getattr(one, "http_methods", ())}
    endpoint = getattr(route, "endpoint", None)
    if isinstance(endpoint, type):  # a class with a method for each verb
        return {verb for verb in _VERBS if getattr(getattr(endpoint, verb.lower(), None), MARKED, False)}
    if not getattr(endpoint, MARKED, False):
        return set()
    return {str(method) for method in getattr(route, "methods", None) or ("*",)} - {"HEAD", "OPTIONS"}


def _simple(path: str) -> str:
    """*path* with a parameter that takes the rest of it as a final `*`."""
    if path.endswith(":path}"):
        return path[: path.rindex("{")] + "*"
    return path
