"""What one attempt at a journaled request comes to (JRN-2, JRN-3)."""

from __future__ import annotations

import pytest
from journal_words import an_entry

from holdfast.faults.codes import CODES
from holdfast.work import attempt
from holdfast.work.attempt import Absent, Applied, Raised, meaning_of, outcome_of
from holdfast.work.entry import Answer, Outcome, State


def test_an_answer_below_400_is_the_end() -> None:
    answer = Answer(201, (), b"{}")

    assert outcome_of(an_entry(), answer, 3, 0.5) == Outcome(State.DONE, answer, 0)


def test_a_refused_request_has_failed() -> None:
    answer = Answer(422)

    assert outcome_of(an_entry(), answer, 3, 0.5) == Outcome(State.FAILED, answer, 0, "answered 422")


def test_a_failure_costs_an_attempt_and_a_pause() -> None:
    assert outcome_of(an_entry(), Raised("ValueError"), 3, 0.5) == Outcome(
        State.PENDING, None, 1, "ValueError", 0.5
    )


def test_the_last_failure_is_the_end() -> None:
    """JRN-3: poison operations stop."""
    outcome = outcome_of(an_entry(attempts=2), Answer(500), 3, 0.5)

    assert outcome == Outcome(State.DEAD, Answer(500), 3, "answered 500")


def test_the_databases_absence_costs_no_attempt() -> None:
    outcome = outcome_of(an_entry(attempts=2), Absent("database_unavailable"), 3, 0.5)

    assert outcome == Outcome(State.PENDING, None, 2, "", 0.5)


def test_an_effect_whose_answer_was_lost_is_done() -> None:
    outcome = outcome_of(an_entry(), Applied("applied_but_interrupted"), 3, 0.5)

    assert outcome == Outcome(State.DONE, None, 0, "applied_but_interrupted")


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("database_unavailable", Absent("database_unavailable")),
        ("idempotency_in_progress", Absent("idempotency_in_progress")),
        ("applied_but_interrupted", Applied("applied_but_interrupted")),
        ("deadline_exceeded", None),
        ("internal_error", None),
    ],
)
def test_what_our_own_refusals_say_of_it(code: str, meaning: object) -> None:
    assert meaning_of(code) == meaning


def test_every_code_is_one_of_the_table() -> None:
    assert set(CODES) >= attempt._ABSENT | attempt._APPLIED
