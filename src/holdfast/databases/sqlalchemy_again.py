"""One statement sent again on a fresh connection, for work that cannot be run again as a whole.

A request that has committed and then reads its row back cannot be replayed; nor can one without a
key that has sent something, a WebSocket, a background task. But the first statement of a
transaction, when it only reads, has no past on its connection: it can be sent on another one. The
connection underneath SQLAlchemy's is exchanged as its pool does it at checkout.

    first of its transaction, only reads, connection lost, nobody sets connections up   again
    anything else                                                                       as it was
"""

from __future__ import annotations

from typing import Any

from holdfast.context import Request
from holdfast.databases.reading import reads_only

ATTEMPTS = 2  # beyond the first


def may_send_again(engine: Any, context: Any, statement: str, request: Request | None) -> bool:
    """Whether *statement*, the first of its transaction, whose connection was lost, can be sent on another.

    Where the application prepares
    each connection as it is handed out (tenants, roles, isolation levels), a fresh one would
    lack that, so it is left alone.
    """
    if context is None or not reads_only(statement):
        return False
    if request is not None and request.kind == "http" and (request.waited_out or request.may_run_again()):
        return False
    options = context.execution_options
    if "isolation_level" in options or options.get("stream_results") or context.executemany:
        return False
    return not _is_prepared(engine)


def exchange(context: Any, error: BaseException) -> Any:
    """Put a fresh connection under *context*'s; its cursor for the statement.

    Raises what opening a connection raises.
    """
    proxied = context.root_connection.connection
    renew(proxied, error)
    context.cursor = cursor = proxied.dbapi_connection.cursor()
    return cursor


def renew(proxied: Any, error: BaseException | None) -> None:
    """Put a fresh connection into *proxied*, as the pool itself does at checkout.

    Raises what opening a connection raises.
    """
    record = proxied._connection_record
    record.invalidate(error)
    proxied.dbapi_connection = record.get_connection()


def replace(proxied: Any, error: BaseException, dialect: Any) -> None:
    """The same between two transactions: the fresh connection is set up as the dead one was."""
    level = _level(proxied.dbapi_connection)
    renew(proxied, error)
    if level is not None and level != dialect.default_isolation_level:
        dialect.set_isolation_level(proxied.dbapi_connection, level)


def _level(connection: Any) -> str | None:
    """The isolation level chosen for *connection*, as SQLAlchemy names it; None where none was."""
    if getattr(connection, "autocommit", False) is True:
        return "AUTOCOMMIT"
    chosen = getattr(connection, "isolation_level", None)
    if chosen is None:
        return None
    return str(getattr(chosen, "name", chosen)).replace("_", " ").upper()


def _is_prepared(engine: Any) -> bool:
    """Whether anyone but us does something to a connection on its way to its user."""
    ours = 1
    handed_out = list(engine.pool.dispatch.checkout)
    events = engine.dispatch
    return len(handed_out) > ours or bool(list(events.begin) or list(events.engine_connect))
