"""What one attempt at a journaled request comes to (JRN-2, JRN-3)."""

from __future__ import annotations

from typing import Any

import pytest
from journal_words import an_entry

from holdfast.faults.codes import CODES
from holdfast.work import attempt
from holdfast.work.attempt import Absent, Applied, Raised, Spent, meaning_of, outcome_of, spent
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


@pytest.mark.parametrize("ended", [Absent("database_unavailable"), Raised("ValueError"), Answer(503)])
def test_a_run_that_ended_by_itself_did_not_end_its_process(ended: Absent | Raised | Answer) -> None:
    outcome = outcome_of(an_entry(interruptions=2), ended, 3, 0.5)

    assert (outcome.state, outcome.interruptions) == (State.PENDING, 0)


@pytest.mark.parametrize(("interruptions", "most"), [(0, 0), (0, 3), (3, 3), (1, 1)])
def test_who_ended_its_process_may_run_again(interruptions: int, most: int) -> None:
    assert spent(an_entry(interruptions=interruptions), most) is None


@pytest.mark.parametrize(("interruptions", "most"), [(4, 3), (2, 1), (9, 3)])
def test_but_not_for_ever(interruptions: int, most: int) -> None:
    """JRN-3: once beside others, who may have done it, and MAX_RETRY_ATTEMPTS times alone."""
    entry = an_entry(interruptions=interruptions, attempts=1)
    ended = spent(entry, most)

    assert ended == Spent(interruptions)
    cause = f"its process ended while it ran, {interruptions} times in a row"
    outcome = Outcome(State.DEAD, None, 1, cause, interruptions=interruptions)
    assert outcome_of(entry, ended, most, 0.5) == outcome


def test_an_effect_whose_answer_was_lost_is_done() -> None:
    outcome = outcome_of(an_entry(), Applied("applied_but_interrupted"), 3, 0.5)

    assert outcome == Outcome(State.DONE, None, 0, "applied_but_interrupted")


@pytest.mark.parametrize(
    "changes", [{"attempts": 1, "cause": "answered 503"}, {"cause": "answered 503"}], ids=["tried", "retried"]
)
def test_an_effect_of_an_attempt_that_failed_is_not_done(changes: dict[str, Any]) -> None:
    """JRN-2, JRN-3: it saved a part and failed; an admin who has it run again learns the same."""
    entry = an_entry(**changes)
    outcome = outcome_of(entry, Applied("applied_but_interrupted"), 3, 0.5)

    assert (outcome.state, outcome.answer, outcome.attempts) == (State.DEAD, None, entry.attempts)
    assert outcome.cause.startswith("answered 503; before that a part of it had been saved")
    again = an_entry(cause=outcome.cause)
    assert outcome_of(again, Applied("applied_but_interrupted"), 3, 0.5).cause == outcome.cause


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
