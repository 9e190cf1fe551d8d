"""asyncpg's connections in our words; the library itself is never imported."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from holdfast.databases.adopt import PoolRules


def tune(params: dict[str, Any], rules: PoolRules) -> dict[str, Any]:
    """*params* of `asyncpg.connect` with our defaults where the application chose nothing."""
    tuned = {"timeout": rules.connect_timeout, **params}
    if rules.ssl is not None:
        tuned.setdefault("ssl", rules.ssl)
    settings = dict(tuned.get("server_settings") or {})
    if rules.statement_timeout and "statement_timeout" not in str(settings.get("options")):
        settings.setdefault("statement_timeout", str(round(rules.statement_timeout * 1000)))
        tuned["server_settings"] = settings
    return tuned


def untune(params: dict[str, Any]) -> dict[str, Any]:
    """*params* without the startup settings that a pooler in between may refuse."""
    settings = dict(params.get("server_settings") or {})
    settings.pop("statement_timeout", None)
    return {**params, "server_settings": settings}


async def fetch(connection: Any, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
    """The rows of *statement*, without SQLAlchemy's adapter: a third of the work."""
    rows: list[Any] = await connection.fetch(statement, *parameters)
    return rows


async def execute(connection: Any, statement: str, parameters: tuple[Any, ...]) -> int:
    """How many rows *statement* touched. Without parameters it is not prepared first."""
    told: str = await connection.execute(statement, *parameters)
    last = told.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def backend(connection: Any) -> int:
    """The number of the server's process on the other side; 0 when it is not known."""
    return int(connection.get_server_pid() or 0)


def aborter(connection: Any) -> Callable[[], None]:
    """A function that ends *connection* at once, from any thread; its waiters get an error."""
    loop = asyncio.get_running_loop()

    def abort() -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed, and so is the connection
            loop.call_soon_threadsafe(connection.terminate)

    return abort


def canceller(_connection: Any) -> None:
    """asyncpg asks the server itself when a task is cancelled."""


def fileno(connection: Any) -> Callable[[], int] | None:
    """A function that tells the socket's descriptor, -1 once it is closed; None without one."""
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return None

    def tell() -> int:
        return -1 if connection.is_closed() else int(sock.fileno())

    return tell
