"""Real servers by name: `with real_server("postgresql") as server`."""

from __future__ import annotations

import difflib
from typing import Literal, overload

from holdfast.drill.postgresql import Options, PostgreSQL
from holdfast.drill.redis import Redis, RedisOptions

KNOWN = ("postgresql", "redis")


@overload
def real_server(
    name: Literal["postgresql"],
    *,
    password: str | None = None,
    max_connections: int = 100,
    durable: bool = False,
) -> PostgreSQL: ...


@overload
def real_server(name: Literal["redis"], *, password: str | None = None, durable: bool = False) -> Redis: ...


@overload
def real_server(name: str) -> PostgreSQL | Redis: ...


def real_server(
    name: str, *, password: str | None = None, max_connections: int = 100, durable: bool = False
) -> PostgreSQL | Redis:
    """The real server *name*, to be entered with `with`, which starts it and cleans up after it.

    Raises ValueError for an unknown name, ServerMissingError when its programs are not installed; entering
    raises ServerError when it does not start.
    """
    match name:
        case "postgresql":
            return PostgreSQL(Options(password=password, max_connections=max_connections, durable=durable))
        case "redis":
            return Redis(RedisOptions(password=password, durable=durable))
        case _:
            near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.4)
            hint = f", did you mean {near[0]!r}?" if near else "."
            raise ValueError(f"unknown server {name!r}{hint} Known: {', '.join(KNOWN)}")
