"""ERR-2: what PostgreSQL's codes mean."""

from __future__ import annotations

import pytest

from holdfast.faults import sqlstate
from holdfast.faults.category import Category, Outcome, Severity
from holdfast.faults.verdicts import turns_away

NOT_APPLIED, UNKNOWN = Outcome.NOT_APPLIED, Outcome.UNKNOWN
DATABASE, QUERY, CONFLICT = Category.DATABASE_CONNECTION, Category.DATABASE_QUERY, Category.CONFLICT

# code: category, status, transient, lost, outcome
VERDICTS = {
    "08000": (DATABASE, 503, True, True, UNKNOWN),
    "08001": (DATABASE, 503, True, True, NOT_APPLIED),
    "08003": (DATABASE, 503, True, True, UNKNOWN),
    "08004": (DATABASE, 503, True, True, NOT_APPLIED),
    "08006": (DATABASE, 503, True, True, UNKNOWN),
    "08007": (DATABASE, 503, True, True, UNKNOWN),
    "08P01": (DATABASE, 503, True, True, UNKNOWN),
    "22001": (Category.VALIDATION, 422, False, False, NOT_APPLIED),
    "22003": (Category.VALIDATION, 422, False, False, NOT_APPLIED),
    "22012": (QUERY, 500, False, False, NOT_APPLIED),
    "22P02": (Category.VALIDATION, 422, False, False, NOT_APPLIED),
    "23000": (CONFLICT, 409, False, False, NOT_APPLIED),
    "23001": (CONFLICT, 409, False, False, NOT_APPLIED),
    "23502": (Category.VALIDATION, 422, False, False, NOT_APPLIED),
    "23503": (CONFLICT, 409, False, False, NOT_APPLIED),
    "23505": (CONFLICT, 409, False, False, NOT_APPLIED),
    "23514": (Category.VALIDATION, 422, False, False, NOT_APPLIED),
    "23P01": (CONFLICT, 409, False, False, NOT_APPLIED),
    "25006": (DATABASE, 503, True, False, NOT_APPLIED),
    "25P02": (QUERY, 500, False, False, NOT_APPLIED),
    "25P03": (DATABASE, 503, True, True, NOT_APPLIED),
    "25P04": (Category.TIMEOUT, 504, False, True, NOT_APPLIED),
    "28000": (Category.AUTHENTICATION, 503, False, False, NOT_APPLIED),
    "28P01": (Category.AUTHENTICATION, 503, False, False, NOT_APPLIED),
    "3D000": (DATABASE, 503, False, False, NOT_APPLIED),
    "40001": (CONFLICT, 503, True, False, NOT_APPLIED),
    "40002": (CONFLICT, 409, False, False, NOT_APPLIED),
    "40003": (CONFLICT, 503, False, False, UNKNOWN),
    "40P01": (CONFLICT, 503, True, False, NOT_APPLIED),
    "42501": (Category.AUTHORIZATION, 500, False, False, NOT_APPLIED),
    "42601": (QUERY, 500, False, False, NOT_APPLIED),
    "42P01": (QUERY, 500, False, False, NOT_APPLIED),
    "44000": (Category.VALIDATION, 422, False, False, NOT_APPLIED),
    "53100": (Category.OVERLOAD, 503, False, False, NOT_APPLIED),
    "53200": (Category.OVERLOAD, 503, False, False, NOT_APPLIED),
    "53300": (Category.OVERLOAD, 503, True, False, NOT_APPLIED),
    "53400": (Category.OVERLOAD, 503, False, False, NOT_APPLIED),
    "55000": (QUERY, 500, False, False, NOT_APPLIED),
    "55P03": (CONFLICT, 503, True, False, NOT_APPLIED),
    "57014": (Category.TIMEOUT, 504, False, False, NOT_APPLIED),
    "57P01": (DATABASE, 503, True, True, UNKNOWN),
    "57P02": (DATABASE, 503, True, True, UNKNOWN),
    "57P03": (DATABASE, 503, True, True, NOT_APPLIED),
    "57P04": (DATABASE, 503, True, True, UNKNOWN),
    "57P05": (DATABASE, 503, True, True, UNKNOWN),
    "58030": (QUERY, 500, False, False, NOT_APPLIED),
    "HV00N": (DATABASE, 503, True, False, NOT_APPLIED),
    "P0001": (QUERY, 500, False, False, NOT_APPLIED),
    "XX000": (QUERY, 500, False, False, NOT_APPLIED),
}


@pytest.mark.parametrize("code", VERDICTS)
def test_a_code_has_the_verdict_written_here(code: str) -> None:
    fault = sqlstate.verdict(code)

    assert VERDICTS[code] == (fault.category, fault.status, fault.transient, fault.lost, fault.outcome)
    assert code == fault.code


def test_every_code_that_differs_from_its_class_is_written_here() -> None:
    assert set(sqlstate.CODES) <= set(VERDICTS)
    assert set(sqlstate.CLASSES) == {code[:2] for code in VERDICTS} - {"HV", "P0"}


@pytest.mark.parametrize("code", ["28000", "28P01", "3D000", "53100", "58030", "XX001"])
def test_what_somebody_has_to_mend_is_critical(code: str) -> None:
    assert Severity.CRITICAL is sqlstate.verdict(code).severity


def test_a_malformed_request_on_a_living_connection_is_our_error_and_not_a_loss() -> None:
    fault = sqlstate.verdict("08P01", "ERROR")

    assert (fault.category, fault.transient, fault.lost) == (QUERY, False, False)


@pytest.mark.parametrize(("code", "severity"), [("40001", "FATAL"), ("XX000", "PANIC"), ("58030", "FATAL")])
def test_a_session_that_ended_with_its_statement_is_lost(code: str, severity: str) -> None:
    fault = sqlstate.verdict(code, severity)

    assert (fault.category, fault.transient, fault.lost, fault.outcome) == (DATABASE, True, True, UNKNOWN)


@pytest.mark.parametrize("code", ["28P01", "3D000", "53300"])
def test_a_refusal_at_the_door_is_no_loss_though_it_is_fatal(code: str) -> None:
    assert not sqlstate.verdict(code, "FATAL").lost


def test_a_database_that_lets_nobody_in_has_refused_and_got_nothing() -> None:
    """55000 is a login's refusal when it is fatal, and a statement's when it is an error."""
    fault = sqlstate.verdict("55000", "FATAL")

    assert (fault.category, fault.transient, fault.lost, fault.outcome) == (DATABASE, True, True, NOT_APPLIED)
    assert not sqlstate.verdict("55000", "ERROR").transient


@pytest.mark.parametrize(
    ("code", "turned_away"),
    [("28P01", True), ("28000", True), ("3D000", True), ("42501", True), ("53300", False), ("57P03", False)],
)
def test_who_is_turned_away_at_the_door_is_told_from_who_only_has_to_wait(
    code: str, turned_away: bool
) -> None:
    assert turns_away(sqlstate.verdict(code, "FATAL")) is turned_away


class Coded(Exception):
    """What any driver may raise."""

    def __init__(self, text: str = "", **attributes: object) -> None:
        super().__init__(text)
        self.__dict__.update(attributes)


def test_the_code_is_read_from_either_attribute() -> None:
    assert sqlstate.read(Coded(sqlstate="57P01")).code == "57P01"  # type: ignore[union-attr]
    assert sqlstate.read(Coded(pgcode="57P01")).code == "57P01"  # type: ignore[union-attr]


@pytest.mark.parametrize("code", [None, 23505, "", "2350", "235055", "2350x", "23 05", b"23505"])
def test_what_is_no_sqlstate_is_not_read(code: object) -> None:
    assert sqlstate.read(Coded(sqlstate=code)) is None


def test_a_plan_that_the_schema_outran_is_worth_another_attempt() -> None:
    fault = sqlstate.read(Coded("cached plan must not change result type", sqlstate="0A000"))

    assert fault is not None
    assert (fault.transient, fault.outcome, fault.code) == (True, NOT_APPLIED, "0A000")
    assert not sqlstate.verdict("0A000").transient
