"""Whether PostgreSQL has given a transaction up: a statement failed, and its error was caught.

It answers the COMMIT of such a transaction with ROLLBACK, which no driver takes for an error.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from holdfast.faults.classify import classify

_IN_ERROR = 3  # libpq's PQTRANS_INERROR
_IN_FAILED_TRANSACTION = "25P02"


class Answers:
    """Which statements of a transaction went well, seen from SQLAlchemy's events."""

    def __init__(self) -> None:
        self._open = 0
        self._streamed = False

    def sending(self, context: Any) -> None:
        """A statement is on its way; the error of a row that is streamed is seen by nobody here."""
        self._open += 1
        self._streamed = self._streamed or bool(context and context.execution_options.get("stream_results"))

    def answered(self, *_: Any) -> None:
        """It went well."""
        self._open -= 1

    def given_up(self, connection: Connection) -> bool:
        """Whether the transaction on *connection* cannot be committed. Raises what the database raises.

        psycopg knows. With others the database is asked if a statement may have failed: it may have
        been inside a savepoint.
        """
        if connection.dialect.name != "postgresql" or not _is_open(connection):
            return False
        info = getattr(connection.connection.driver_connection, "info", None)
        status = getattr(info, "transaction_status", None)
        if status is not None:
            return int(status) == _IN_ERROR
        return (self._open > 0 or self._streamed) and _says_so(connection)


def _is_open(connection: Connection) -> bool:
    return connection.in_transaction() and not (connection.closed or connection.invalidated)


def _says_so(connection: Connection) -> bool:
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError as error:
        if classify(error, database=True).code != _IN_FAILED_TRANSACTION:
            raise
        return True
    return False
