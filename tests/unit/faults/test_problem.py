"""ERR-3, ERR-4, ERR-5: what the receiver of an error is told."""

from __future__ import annotations

import asyncpg
import pytest
import sqlalchemy.exc
import starlette.exceptions

from holdfast.faults.category import Category, Fault, Outcome
from holdfast.faults.classify import classify
from holdfast.faults.problem import FieldError, Problem, code_of, from_fault, problem, render


def told(exc: BaseException, production: bool = True, retry_after: float | None = None) -> Problem:
    return from_fault(
        classify(exc),
        request_id="r1",
        instance="/orders",
        production=production,
        exc=exc,
        retry_after=retry_after,
    )


def duplicate() -> asyncpg.UniqueViolationError:
    exc = asyncpg.UniqueViolationError("duplicate key value violates unique constraint")
    exc.detail = "Key (tenant, email)=(7, ada@example.org) already exists."
    return exc


def test_a_problem_is_the_rfc_s_with_our_members() -> None:
    refused = problem("waiting_room_full", request_id="r1", instance="/orders", retry_after=1.2)

    assert render(refused) == {
        "type": "urn:holdfast:problem:waiting_room_full",
        "title": "Too busy",
        "status": 503,
        "detail": "Too many requests are already waiting for the database. Please try again shortly.",
        "instance": "/orders",
        "code": "waiting_room_full",
        "category": "overload",
        "requestId": "r1",
        "retryAfter": 2,
    }


def test_the_simple_style_has_the_simple_names() -> None:
    refused = problem("starting", request_id="r1", retry_after=0.2)

    assert render(refused, "simple") == {
        "error": "starting",
        "message": "The service is starting and not ready yet. Please try again shortly.",
        "status": 503,
        "requestId": "r1",
        "retryAfter": 1,
    }


def test_a_duplicate_names_its_columns_and_not_the_other_row_s_values() -> None:
    body = render(told(duplicate()))

    assert (body["status"], body["code"]) == (409, "duplicate_key")
    assert body["detail"] == "An entry with the same tenant and email exists already."
    assert [one["path"] for one in body["details"]] == ["tenant", "email"]
    assert "ada@" not in str(body)


def test_the_caller_s_field_errors_come_before_the_fault_s() -> None:
    details = [FieldError("body.email", "Field required", "missing")]
    fault = classify(duplicate())
    body = render(from_fault(fault, request_id=None, instance=None, production=True, details=details))

    assert body["details"] == [{"path": "body.email", "message": "Field required", "type": "missing"}]
    assert "requestId" not in body


def test_a_developer_is_told_the_redacted_text_and_a_client_never_is() -> None:
    exc = sqlalchemy.exc.DBAPIError("SELECT 'x'", {"name": "ada"}, ValueError("password=hunter2"))

    assert told(exc, production=True).debug is None
    assert str(told(exc, production=False).debug).startswith("DBAPIError: (builtins.ValueError) password=***")
    assert "ada" not in str(told(exc, production=False).debug)


def test_a_developer_is_told_the_places_and_the_causes() -> None:
    """ERR-4."""

    def dial() -> None:
        raise ConnectionRefusedError("postgresql://app:hunter2@db/shop refused")

    def order() -> None:
        try:
            dial()
        except ConnectionRefusedError as error:
            raise ValueError("no order") from error

    with pytest.raises(ValueError) as raised:
        order()
    told_so = str(told(raised.value, production=False).debug)

    first, *_, last = told_so.splitlines()
    assert first == "ValueError: no order"
    assert "caused by ConnectionRefusedError: postgresql://app:***@db/shop refused" in told_so
    assert last.startswith(f"  at {__file__}:")
    assert last.endswith(".dial")


def test_a_ring_of_causes_has_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    assert str(told(one, production=False).debug).count("caused by") == 4


def test_an_exception_that_cannot_be_read_is_named() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    assert str(told(Mute(), production=False).debug).endswith("Mute")


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (asyncpg.ConnectionDoesNotExistError("x"), "database_unavailable"),
        (asyncpg.InvalidPasswordError("x"), "database_unavailable"),
        (asyncpg.SerializationError("x"), "write_conflict"),
        (asyncpg.ForeignKeyViolationError("x"), "conflict"),
        (asyncpg.NotNullViolationError("x"), "validation_failed"),
        (asyncpg.QueryCanceledError("x"), "deadline_exceeded"),
        (asyncpg.UndefinedTableError("x"), "internal_error"),
        (asyncpg.InsufficientPrivilegeError("x"), "internal_error"),
        (sqlalchemy.exc.TimeoutError("x"), "overloaded"),
        (ConnectionRefusedError(111, "x"), "upstream_unavailable"),
        (starlette.exceptions.HTTPException(401), "unauthenticated"),
        (starlette.exceptions.HTTPException(403), "forbidden"),
        (starlette.exceptions.HTTPException(404), "not_found"),
        (starlette.exceptions.HTTPException(418), "bad_request"),
        (starlette.exceptions.HTTPException(429), "rate_limited"),
        (KeyError("x"), "internal_error"),
    ],
)
def test_a_verdict_has_its_code(exc: BaseException, code: str) -> None:
    assert code_of(classify(exc)) == code


def test_our_wrong_password_does_not_ask_the_client_to_sign_in() -> None:
    body = render(told(asyncpg.InvalidPasswordError("x")))

    assert (body["status"], body["category"]) == (503, "database_connection")


def test_retrying_is_advised_only_where_it_can_help() -> None:
    assert render(told(asyncpg.SerializationError("x"), retry_after=1))["retryAfter"] == 1
    assert "retryAfter" not in render(told(duplicate(), retry_after=1))


def test_an_outcome_in_doubt_is_the_databases_absence_not_our_mistake() -> None:
    assert problem("commit_outcome_unknown").status == 503
    assert problem("applied_but_interrupted").status == 503


def test_a_code_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(KeyError):
        problem("no_such_code")


def test_one_field_is_named_alone_and_three_with_commas() -> None:
    def detail(*fields: str) -> str:
        fault = Fault(Category.CONFLICT, 409, False, Outcome.NOT_APPLIED, code="23505", fields=fields)
        return from_fault(fault, request_id=None, instance=None, production=True).detail

    assert detail("email") == "An entry with the same email exists already."
    assert detail("a", "b", "c") == "An entry with the same a, b and c exists already."
    assert detail() == "An entry with the same value exists already."
