"""psycopg 3's connections in our words, async and sync; the library itself is never imported."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import Any

from holdfast.databases.adopt import PoolRules
from holdfast.databases.link import Link
from holdfast.databases.wire import shutting_down


def tune(params: dict[str, Any], rules: PoolRules) -> dict[str, Any]:
    """*params* of `psycopg.connect` with our defaults where the application chose nothing.

    What libpq reads from the environment is the application's choice as well: a parameter would
    take its place.
    """
    tuned = dict(params)
    if "PGCONNECT_TIMEOUT" not in os.environ:
        tuned.setdefault("connect_timeout", max(1, round(rules.connect_timeout)))
    if rules.ssl is not None and "PGSSLMODE" not in os.environ:
        tuned.setdefault("sslmode", rules.ssl)
    options = str(tuned.get("options") or os.environ.get("PGOPTIONS") or "")
    if rules.statement_timeout and "statement_timeout" not in options:
        timeout = round(rules.statement_timeout * 1000)
        tuned["options"] = f"{options} -c statement_timeout={timeout}".strip()
    return tuned


def untune(params: dict[str, Any]) -> dict[str, Any]:
    """*params* without the startup settings that a pooler in between may refuse."""
    options = re.sub(r"\s*-c statement_timeout=\d+$", "", str(params.get("options") or ""))
    return {**params, "options": options}


def backend(connection: Any) -> int:
    """The number of the server's process on the other side; 0 when it is not known."""
    return int(connection.info.backend_pid or 0)


def aborter(connection: Any) -> Callable[[], None]:
    """A function that ends *connection* at once, from any thread; whoever waits gets an error."""
    return shutting_down(fileno(connection))


def canceller(connection: Any) -> Callable[[], None]:
    """A function that asks the server to end what *connection* runs; it blocks, and may raise."""
    safe = getattr(connection, "cancel_safe", None)  # since 3.2; the other ignores encryption
    return safe if safe is not None else connection.cancel  # type: ignore[no-any-return]


def fileno(connection: Any) -> Callable[[], int]:
    """A function that tells the socket's descriptor, -1 once it is closed."""

    def tell() -> int:
        with contextlib.suppress(Exception):  # whatever psycopg raises: another thread has closed it
            return int(connection.fileno())
        return -1

    return tell


def telling(
    factory: type[Any], known: Callable[[int], Link | None], told: Callable[[Link, Any], None]
) -> type[Any]:
    """A class of cursors like *factory*; *told* is called with what they send past us.

    What is sent while something is under way on the connection has come through us. *known* is what
    we know of a connection, by its `id`.
    """
    execute, executemany, stream, copy = factory.execute, factory.executemany, factory.stream, factory.copy

    def sends(cursor: Any, query: Any) -> None:
        link = known(id(cursor.connection))
        if link is not None and not link.began:
            told(link, query)

    class Telling(factory):  # type: ignore[misc]
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            sends(self, query)
            return execute(self, query, *args, **kwargs)

        def executemany(self, query: Any, *args: Any, **kwargs: Any) -> None:
            sends(self, query)
            executemany(self, query, *args, **kwargs)

        def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            sends(self, query)
            return stream(self, query, *args, **kwargs)

        def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
            sends(self, statement)
            return copy(self, statement, *args, **kwargs)

    Telling.__name__, Telling.__qualname__ = factory.__name__, factory.__qualname__
    return Telling


def fetching(factory: type[Any], known: Callable[[int], Link | None]) -> type[Any]:
    """A class of server-side cursors like *factory*: what they fetch is under way on their connection."""

    def under_way(fetch: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(fetch)
        def fetched(cursor: Any, *args: Any, **kwargs: Any) -> Any:
            link = known(id(cursor.connection))
            if link is None or link.began:
                return fetch(cursor, *args, **kwargs)
            link.began = monotonic()
            try:
                return fetch(cursor, *args, **kwargs)
            finally:
                link.began = 0.0

        return fetched

    fetches = ("fetchone", "fetchmany", "fetchall", "scroll", "close")
    methods = {name: under_way(getattr(factory, name)) for name in fetches}
    return type(factory.__name__, (factory,), {**methods, "__module__": factory.__module__})
