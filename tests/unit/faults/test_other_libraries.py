"""ERR-2: MySQL's numbers, MongoDB's codes and labels, Redis's classes, by the names they go by.

The classes here are stand-ins with the qualified names of the libraries, which need not be installed.
"""

from __future__ import annotations

import pytest
import sqlalchemy.exc

from holdfast.faults.category import Fault, Outcome
from holdfast.faults.classify import classify
from holdfast.faults.problem import code_of
from holdfast.faults.verdicts import EXHAUSTED, FULL, LOST, QUERY, RACE, REFUSED, UNAUTHENTICATED


def named(name: str, *bases: type[Exception]) -> type[Exception]:
    module, _, short = name.rpartition(".")
    return type(short, bases or (Exception,), {"__module__": module, "__qualname__": short})


PYMYSQL = named("pymysql.err.OperationalError", named("pymysql.err.Error"))
PYMONGO = named("pymongo.errors.PyMongoError")
REDIS = named("redis.exceptions.RedisError")


def meaning(fault: Fault) -> tuple[str, int, bool, bool, str]:
    return fault.category, fault.status, fault.transient, fault.lost, fault.outcome


@pytest.mark.parametrize(
    ("number", "told", "category", "status", "transient", "lost"),
    [
        (2003, "Can't connect to MySQL server", "database_connection", 503, True, True),
        (2013, "Lost connection to MySQL server during query", "database_connection", 503, True, True),
        (1836, "Running in read-only mode", "database_connection", 503, True, True),
        (1290, "running with the --read-only option", "database_connection", 503, True, True),
        (1290, "running with the --secure-file-priv option", "database_query", 500, False, False),
        (1040, "Too many connections", "overload", 503, True, False),
        (1045, "Access denied for user", "authentication", 503, False, False),
        (1049, "Unknown database", "database_connection", 503, False, False),
        (1213, "Deadlock found when trying to get lock", "conflict", 503, True, False),
        (1062, "Duplicate entry", "conflict", 409, False, False),
        (3024, "maximum statement execution time exceeded", "timeout", 504, False, False),
        (1064, "You have an error in your SQL syntax", "database_query", 500, False, False),
    ],
)
def test_a_number_of_mysql(
    number: int, told: str, category: str, status: int, transient: bool, lost: bool
) -> None:
    exc = PYMYSQL(number, told)

    for one in (exc, sqlalchemy.exc.OperationalError("SELECT 1", {}, exc)):
        fault = classify(one)
        assert (fault.category, fault.status, fault.transient, fault.lost) == (
            category,
            status,
            transient,
            lost,
        )
        assert fault.code == str(number)


def test_mysql_says_what_may_have_arrived() -> None:
    assert classify(PYMYSQL(2003, "x")).outcome is Outcome.NOT_APPLIED
    assert classify(PYMYSQL(2013, "x")).outcome is Outcome.UNKNOWN


def test_mysql_names_the_key_behind_the_value_and_not_one_inside_it() -> None:
    lying = classify(PYMYSQL(1062, "Duplicate entry 'x for key 'secret'' for key 'users.email'"))

    assert lying.fields == ("email",)
    assert code_of(lying) == "duplicate_key"
    assert classify(PYMYSQL(1062, "Duplicate entry '1' for key 'PRIMARY'")).fields == ()
    assert classify(PYMYSQL(1048, "Column 'name' cannot be null")).fields == ("name",)


def test_an_exception_of_mysql_s_driver_without_a_number_is_unknown() -> None:
    assert classify(PYMYSQL("cursor closed")).code is None


def operation(code: int | None, *labels: str, **details: object) -> Exception:
    exc = named("pymongo.errors.OperationFailure", PYMONGO)("told")
    exc.__dict__.update(code=code, details=details, has_error_label=labels.__contains__)
    return exc


def test_a_code_of_mongodb() -> None:
    duplicate = classify(operation(11000, keyPattern={"tenant": 1, "email": 1}, keyValue={"email": "ada"}))

    assert (duplicate.status, duplicate.fields) == (409, ("tenant", "email"))
    assert code_of(duplicate) == "duplicate_key"
    assert meaning(classify(operation(10107))) == meaning(REFUSED)
    assert meaning(classify(operation(11600))) == meaning(LOST)
    assert meaning(classify(operation(18))) == meaning(UNAUTHENTICATED)
    assert meaning(classify(operation(None))) == meaning(QUERY)


def test_a_label_of_mongodb_says_more_than_its_code() -> None:
    unknown = classify(operation(64, "UnknownTransactionCommitResult"))

    assert meaning(classify(operation(246, "TransientTransactionError"))) == meaning(RACE)
    assert (unknown.transient, unknown.outcome) == (True, Outcome.UNKNOWN)


def test_a_connection_of_mongodb() -> None:
    auto = named("pymongo.errors.AutoReconnect", PYMONGO)
    demoted = named("pymongo.errors.NotPrimaryError", auto)("not primary")
    demoted.details = {"code": 10107}  # type: ignore[attr-defined]

    assert classify(auto("connection closed")) == LOST
    assert meaning(classify(demoted)) == meaning(REFUSED)
    assert classify(named("pymongo.errors.ServerSelectionTimeoutError", auto)("x")) == REFUSED
    assert classify(named("pymongo.errors.WaitQueueTimeoutError", PYMONGO)("x")) == EXHAUSTED


def test_a_class_of_redis() -> None:
    connection = named("redis.exceptions.ConnectionError", REDIS)

    assert classify(connection("Error 111 connecting to 127.0.0.1:6379. Connection refused.")) == REFUSED
    assert classify(connection("Connection closed by server.")) == LOST
    assert classify(named("redis.exceptions.BusyLoadingError", connection)("loading")) == REFUSED
    assert classify(named("redis.exceptions.AuthenticationError", connection)("no")) == UNAUTHENTICATED
    assert classify(named("redis.exceptions.MaxConnectionsError", connection)("no")) == EXHAUSTED
    assert classify(named("redis.exceptions.OutOfMemoryError", REDIS)("OOM")) == FULL
    assert classify(named("redis.exceptions.ResponseError", REDIS)("WRONGTYPE")) == QUERY
