"""ERR-1, ERR-2: one classifier, from tables, that never raises and never guesses."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import socket
import sqlite3
import ssl

import aiohttp
import asyncpg
import httpx
import psycopg
import psycopg_pool
import pytest
import sqlalchemy.exc
import sqlalchemy.orm.exc
import starlette.exceptions

from holdfast.faults.category import Category, Fault, Outcome, Severity
from holdfast.faults.classify import classify
from holdfast.faults.verdicts import (
    CANCELLED,
    CANCELLED_QUERY,
    CLOSED,
    EXHAUSTED,
    FULL,
    INVALID,
    LOST,
    OUTDATED,
    QUERY,
    REFUSED,
    TIMED_OUT,
    UNKNOWN,
)

CONNECTING = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


def meaning(fault: Fault) -> tuple[Category, int, bool, bool, Outcome]:
    return fault.category, fault.status, fault.transient, fault.lost, fault.outcome


@pytest.mark.parametrize(
    ("exc", "verdict"),
    [
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"), REFUSED),
        (asyncpg.InterfaceError("cannot call X.fetch(): the underlying connection is closed"), REFUSED),
        (asyncpg.InterfaceError("pool is closing"), CLOSED),
        (asyncpg.InterfaceError("pool is closed"), CLOSED),
        (asyncpg.InterfaceError("cannot perform operation: another operation is in progress"), QUERY),
        (asyncpg.InternalClientError("cannot process message 'Z'"), QUERY),
        (
            asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
            REFUSED,
        ),
        (asyncpg.TargetServerAttributeNotMatched("None of the hosts match"), REFUSED),
        (asyncpg.OutdatedSchemaCacheError("schema changed"), OUTDATED),
        (asyncpg.InvalidCachedStatementError("cached statement plan is invalid"), OUTDATED),
        (asyncpg.exceptions._base.DataError("invalid input for query argument $1"), INVALID),
        (psycopg.OperationalError("the connection is closed"), REFUSED),
        (psycopg.OperationalError("flushing failed: the connection is closed"), LOST),
        (psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"), LOST),
        (psycopg.OperationalError("sending query failed: another command is already in progress"), QUERY),
        (psycopg.OperationalError("die Verbindung zum Server wurde beendet"), LOST),
        (psycopg.InternalError("received 2 results from command 'BEGIN'"), LOST),
        (psycopg.InternalError("unexpected result status from query: BAD_RESPONSE"), UNKNOWN),
        (psycopg.OperationalError(CONNECTING + "Connection refused"), REFUSED),
        (psycopg.OperationalError(CONNECTING + "server closed the connection unexpectedly"), REFUSED),
        (psycopg.OperationalError("failed to resolve host 'db': [Errno -2]"), REFUSED),
        (psycopg.InterfaceError("the cursor is closed"), QUERY),
        (psycopg.errors.ConnectionTimeout("connection timeout expired"), REFUSED),
        (psycopg.errors.CancellationTimeout("cancellation timeout expired"), CANCELLED_QUERY),
        (psycopg.errors.PipelineAborted("pipeline aborted"), QUERY),
        (psycopg_pool.PoolTimeout("couldn't get a connection after 30.00 sec"), EXHAUSTED),
        (psycopg_pool.TooManyRequests("the pool has already 5 requests waiting"), EXHAUSTED),
        (psycopg_pool.PoolClosed("the pool is already closed"), CLOSED),
        (sqlalchemy.exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached"), EXHAUSTED),
        (sqlalchemy.exc.DisconnectionError("gone"), LOST),
        (sqlalchemy.exc.PendingRollbackError("Can't reconnect", code="8s2b"), REFUSED),
        (sqlalchemy.exc.PendingRollbackError("rolled back in flush", code="7s2a"), QUERY),
        (sqlalchemy.exc.InvalidRequestError("no"), QUERY),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), CLOSED),
        (sqlite3.OperationalError("told by nobody"), QUERY),
        (MemoryError(), FULL),
        (concurrent.futures.BrokenExecutor(), EXHAUSTED),
        (asyncio.CancelledError(), CANCELLED),
        (concurrent.futures.CancelledError(), CANCELLED),
        (KeyboardInterrupt(), CANCELLED),
        (TimeoutError(), TIMED_OUT),
        (KeyError("x"), UNKNOWN),
        (FileNotFoundError(errno.ENOENT, "no such template"), UNKNOWN),
        (OSError("told by nobody"), UNKNOWN),
        (RuntimeError("Event loop is closed"), UNKNOWN),
    ],
)
def test_an_exception_has_the_verdict_written_here(exc: BaseException, verdict: Fault) -> None:
    assert classify(exc) == verdict


@pytest.mark.parametrize(
    ("text", "code", "transient"),
    [
        ('FATAL:  password authentication failed for user "app"', "28P01", False),
        ("fe_sendauth: no password supplied", "28P01", False),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1"', "28000", False),
        ('FATAL:  pg_hba.conf rejects connection for host "10.0.0.1", no encryption', "28000", False),
        ('FATAL:  kein pg_hba.conf-Eintrag für Host "10.0.0.1", keine Verschlüsselung', "28000", False),
        ('FATAL:  role "nobody" does not exist', "28000", False),
        ('FATAL:  database "nothing" does not exist', "3D000", False),
        ("FATAL:  sorry, too many clients already", "53300", True),
        ("FATAL:  remaining connection slots are reserved", "53300", True),
        ("FATAL:  the database system is starting up", "57P03", True),
        ("FATAL:  the database system is not yet accepting connections", "57P03", True),
    ],
)
def test_libpq_tells_a_refusal_only_in_words(text: str, code: str, transient: bool) -> None:
    fault = classify(psycopg.OperationalError(CONNECTING + text))

    assert (fault.code, fault.transient, fault.outcome) == (code, transient, Outcome.NOT_APPLIED)


def test_of_two_hosts_the_one_that_answered_decides() -> None:
    told = f'{CONNECTING}Connection refused\n{CONNECTING}FATAL:  database "nothing" does not exist'

    assert classify(psycopg.OperationalError(told)).code == "3D000"


REFUSALS = [
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ConnectionRefusedError("somebody's own"),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    OSError(
        "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed"
    ),
]
LOSSES = [
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    BrokenPipeError(errno.EPIPE, "Broken pipe"),
    ConnectionError("unexpected connection_lost() call"),
    OSError(errno.ETIMEDOUT, "Connection timed out"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 104] Connection reset"),
    asyncio.IncompleteReadError(b"", 4),
    ssl.SSLError(1, "decryption failed or bad record mac"),
    RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed"),
]


@pytest.mark.parametrize("exc", REFUSALS, ids=repr)
def test_what_refused_a_connection_got_nothing(exc: BaseException) -> None:
    assert meaning(classify(exc, database=True)) == meaning(REFUSED)


@pytest.mark.parametrize("exc", LOSSES, ids=repr)
def test_what_broke_a_connection_may_have_got_something(exc: BaseException) -> None:
    assert meaning(classify(exc, database=True)) == meaning(LOST)


@pytest.mark.parametrize("exc", [*REFUSALS, *LOSSES], ids=repr)
def test_a_connection_that_nobody_vouches_for_is_the_network_s(exc: BaseException) -> None:
    fault = classify(exc)

    assert (fault.category, fault.status, fault.transient) == (Category.NETWORK, 503, True)


def test_a_number_of_the_system_is_told_by_name() -> None:
    assert classify(REFUSALS[0]).code == "ECONNREFUSED"
    assert classify(OSError(errno.EMFILE, "Too many open files")).code == "EMFILE"
    assert classify(OSError(errno.ENOSPC, "No space left")).severity is Severity.CRITICAL


def test_a_database_hook_counts_time_outs_and_missing_sockets_as_its_database() -> None:
    assert classify(TimeoutError(), database=True) == LOST
    assert meaning(classify(FileNotFoundError(errno.ENOENT, "x"), database=True)) == meaning(REFUSED)
    assert classify(OSError("told by nobody"), database=True) == LOST
    assert classify(KeyError("x"), database=True) == UNKNOWN


def test_an_untrusted_certificate_is_somebody_s_to_mend() -> None:
    fault = classify(ssl.SSLCertVerificationError(1, "certificate verify failed"), database=True)

    assert (fault.transient, fault.severity) == (False, Severity.CRITICAL)


def wrapped(orig: Exception, invalidated: bool = False) -> sqlalchemy.exc.DBAPIError:
    return sqlalchemy.exc.DBAPIError("SELECT 1", {}, orig, connection_invalidated=invalidated)


def test_the_driver_s_exception_inside_sqlalchemy_s_decides() -> None:
    assert classify(wrapped(asyncpg.DeadlockDetectedError("x"))).code == "40P01"
    assert classify(wrapped(psycopg.OperationalError("the connection is closed"))) == REFUSED
    assert meaning(classify(wrapped(ConnectionResetError(errno.ECONNRESET, "reset")))) == meaning(LOST)


@pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ROLLBACK"])
def test_a_poolers_farewell_behind_the_servers_is_a_loss_and_a_commit_in_doubt(command: str) -> None:
    """DB-6: PgBouncer passes the server's FATAL on and adds its own."""
    told = psycopg.InternalError(f"received 2 results from command {command!r}")
    fault = classify(sqlalchemy.exc.InternalError(command, None, told))

    assert (fault.transient, fault.lost, fault.outcome) == (True, True, Outcome.UNKNOWN)


def adapted(cause: BaseException | None, **attributes: object) -> Exception:
    """As SQLAlchemy 2.0 raises it: no `orig`, the driver's exception as its cause."""
    names = {
        "__module__": "sqlalchemy.dialects.postgresql.asyncpg",
        "__qualname__": "AsyncAdapt_asyncpg_dbapi.Error",
    }
    exc: Exception = type("Error", (Exception,), names)("told")
    exc.__dict__.update(attributes)
    exc.__cause__ = cause
    return exc


def test_the_asyncpg_adapter_of_sqlalchemy_2_0_is_looked_through() -> None:
    cause = asyncpg.InterfaceError("cannot perform operation: connection is closed")

    assert classify(wrapped(adapted(cause))) == REFUSED
    assert classify(wrapped(adapted(None, sqlstate="40001"))).code == "40001"
    assert classify(wrapped(adapted(None))) == QUERY


def test_a_connection_that_sqlalchemy_gave_up_is_lost_whatever_the_driver_said() -> None:
    cancelled = classify(wrapped(asyncpg.QueryCanceledError("x"), invalidated=True))

    assert meaning(classify(wrapped(ValueError("?"), invalidated=True))) == meaning(LOST)
    assert (cancelled.lost, cancelled.transient, cancelled.code) == (True, False, "57014")


@pytest.mark.parametrize(
    ("cls", "category", "status"),
    [
        (sqlalchemy.exc.IntegrityError, Category.CONFLICT, 409),
        (sqlalchemy.exc.DataError, Category.VALIDATION, 422),
        (sqlalchemy.exc.OperationalError, Category.DATABASE_QUERY, 500),
    ],
)
def test_a_driver_that_nobody_knows_leaves_the_word_to_its_class(
    cls: type[sqlalchemy.exc.DBAPIError], category: Category, status: int
) -> None:
    fault = classify(cls("SELECT 1", {}, ValueError("of a driver yet to come")))

    assert (fault.category, fault.status, fault.transient) == (category, status, False)


def test_sqlalchemy_s_own_words() -> None:
    assert classify(sqlalchemy.exc.NoResultFound()).status == 404
    assert classify(sqlalchemy.orm.exc.StaleDataError()).status == 409


@pytest.mark.parametrize(
    ("status", "category"),
    [
        (401, Category.AUTHENTICATION),
        (404, Category.NOT_FOUND),
        (429, Category.RATE_LIMIT),
        (418, Category.UNKNOWN),
    ],
)
def test_the_status_that_the_application_raised_stands(status: int, category: Category) -> None:
    fault = classify(starlette.exceptions.HTTPException(status))

    assert (fault.category, fault.status, fault.transient) == (category, status, False)


def test_a_client_of_another_service_is_no_database() -> None:
    for exc in (httpx.ConnectError("refused"), aiohttp.ServerDisconnectedError(), httpx.ReadError("reset")):
        fault = classify(exc)

        assert (fault.category, fault.transient, fault.lost) == (Category.NETWORK, True, False)
    assert classify(httpx.ReadTimeout("slow")) == TIMED_OUT
    assert classify(httpx.ConnectTimeout("slow")).outcome is Outcome.NOT_APPLIED


class OrderFailed(Exception):
    """An application's own exception."""


def test_the_cause_speaks_for_an_exception_that_says_nothing() -> None:
    exc = OrderFailed()
    exc.__cause__ = asyncpg.SerializationError("x")

    assert classify(exc).code == "40001"


def test_what_was_merely_being_handled_does_not_speak() -> None:
    exc = OrderFailed()
    exc.__context__ = asyncpg.SerializationError("x")

    assert classify(exc) == UNKNOWN


def test_a_group_is_as_bad_as_its_worst_and_as_careful_as_its_most_careful() -> None:
    group = ExceptionGroup("", [ConnectionResetError(), asyncpg.UniqueViolationError("x")])
    fault = classify(group)

    assert (fault.status, fault.transient, fault.lost) == (409, False, True)
    assert fault.outcome is Outcome.UNKNOWN


def test_a_group_of_losses_is_a_loss_and_the_cancelled_do_not_count() -> None:
    lost = asyncpg.ConnectionDoesNotExistError("x")

    assert meaning(classify(ExceptionGroup("", [ExceptionGroup("", [lost]), lost]))) == meaning(LOST)
    assert meaning(classify(BaseExceptionGroup("", [asyncio.CancelledError(), lost]))) == meaning(LOST)
    assert classify(BaseExceptionGroup("", [asyncio.CancelledError()])) == CANCELLED


def test_one_unknown_member_forbids_another_attempt() -> None:
    lost = asyncpg.ConnectionDoesNotExistError("x")

    assert not classify(ExceptionGroup("", [lost, KeyError("x")])).transient


def test_causes_that_run_in_a_circle_end() -> None:
    one, other = OrderFailed(), OrderFailed()
    one.__cause__, other.__cause__ = other, one

    assert classify(one) == UNKNOWN


class Hostile(Exception):
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise ValueError(name)

    def __str__(self) -> str:
        raise ValueError("no")


def test_an_exception_whose_attributes_raise_is_unknown() -> None:
    assert classify(Hostile()) == UNKNOWN
    assert classify(wrapped(Hostile())) in (UNKNOWN, QUERY)


def test_a_subclass_means_what_its_base_means() -> None:
    class Ours(asyncpg.DeadlockDetectedError):
        pass

    assert classify(Ours("x")).code == "40P01"


def test_a_class_that_only_has_the_name_is_not_mistaken() -> None:
    class OperationalError(Exception):
        pass

    assert classify(OperationalError("server closed the connection unexpectedly")) == UNKNOWN
