"""What may become of an entry: the rows of 0008 that the ground floor decides (JRN-2, JRN-3)."""

from __future__ import annotations

import pytest

from holdfast.work.entry import (
    Answer,
    Entry,
    New,
    Outcome,
    State,
    after_absence,
    after_answer,
    after_failure,
    given_back,
    name_of,
)

NEW = New("name", "key", "order", "POST", "/orders", ((b"a", b"bc"),), b"body", None, 1000.0)


def running(attempts: int = 0, cause: str = "") -> Entry:
    return Entry(7, NEW, State.RUNNING, attempts=attempts, cause=cause)


@pytest.mark.parametrize("status", [200, 201, 204, 303, 399])
def test_an_answer_below_400_is_the_end_and_is_kept(status: int) -> None:
    answer = Answer(status, ((b"location", b"/orders/1"),), b"done")

    assert after_answer(running(1), answer, 3, 5.0) == Outcome(State.DONE, answer, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 499])
def test_a_fault_of_the_request_fails_it_at_the_first_attempt_and_keeps_the_answer(status: int) -> None:
    answer = Answer(status, body=b"no")

    assert after_answer(running(), answer, 3, 5.0) == Outcome(State.FAILED, answer, 0, f"answered {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 599])
def test_an_answer_that_may_be_another_one_later_is_attempted_again_after_a_pause(status: int) -> None:
    expected = Outcome(State.PENDING, None, 2, f"answered {status}", 5.0)

    assert after_answer(running(1), Answer(status), 3, 5.0) == expected


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_the_last_attempt_makes_it_dead_with_its_answer(status: int) -> None:
    answer = Answer(status, body=b"why")

    assert after_answer(running(2), answer, 3, 5.0) == Outcome(State.DEAD, answer, 3, f"answered {status}")


def test_a_failure_without_an_answer_counts_too() -> None:

    assert after_failure(running(), "ValueError", 3, 5.0) == Outcome(
        State.PENDING, None, 1, "ValueError", 5.0
    )
    assert after_failure(running(2), "ValueError", 3, 5.0) == Outcome(State.DEAD, None, 3, "ValueError")


def test_one_attempt_in_all_is_one() -> None:

    assert after_failure(running(), "ValueError", 1, 5.0).state is State.DEAD


@pytest.mark.parametrize("attempts", [0, 1, 2, 50])
def test_the_absence_of_the_database_costs_no_attempt(attempts: int) -> None:
    expected = Outcome(State.PENDING, None, attempts, "answered 500", 2.0)

    assert after_absence(running(attempts, "answered 500"), 2.0) == expected


def test_a_name_does_not_tell_the_id_it_was_made_of() -> None:
    name = name_of("7f9c")

    assert name == name_of("7f9c")
    assert name != name_of("7f9d")
    assert "7f9c" not in name
    assert len(name) == 64


def test_what_an_entry_weighs_is_all_that_was_sent_and_a_little() -> None:

    assert NEW.size == len(b"body") + len("/orders") + 3 + 256


def test_what_is_given_back_is_as_it_was() -> None:
    entry = Entry(7, NEW, State.RUNNING, attempts=1, interruptions=2, cause="answered 500")

    assert given_back(entry) == Outcome(State.PENDING, None, 1, "answered 500", 0.0, 2)
