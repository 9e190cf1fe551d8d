"""Retry: one example for each answer (POL-2, POL-3)."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from holdfast.policy.backoff import Backoff, Jitter
from holdfast.policy.retry import Again, Failure, GiveUp, Retry, after_failure

RULES = Retry(attempts=3, backoff=Backoff(first=1.0, cap=8.0, jitter=Jitter.NONE))
FIRST = Failure(attempt=1, concerned=True)


def decide(failure: Failure, deadline_at: float = math.inf) -> Again | GiveUp:
    return after_failure(RULES, failure, 100.0, deadline_at, Random(1))


def test_the_defaults_are_three_attempts_a_tenth_of_a_second_apart_doubling() -> None:
    assert (Retry().attempts, Retry().backoff.first, Retry().backoff.factor) == (3, 0.1, 2.0)


def test_a_failure_that_is_named_is_attempted_again_after_the_backoff() -> None:
    assert Again(1.0) == decide(FIRST)
    assert Again(2.0) == decide(replace(FIRST, attempt=2))


def test_a_failure_that_is_not_named_is_not_attempted_again() -> None:
    assert decide(replace(FIRST, concerned=False)) == GiveUp.NOT_CONCERNED


def test_the_last_attempt_is_the_last() -> None:
    assert decide(replace(FIRST, attempt=3)) == GiveUp.ATTEMPTS


def test_a_wait_never_reaches_the_deadline() -> None:
    assert decide(FIRST, deadline_at=101.0) == GiveUp.DEADLINE
    assert Again(1.0) == decide(FIRST, deadline_at=101.001)


def test_a_server_that_asks_for_a_longer_wait_gets_it() -> None:
    assert Again(5.0) == decide(replace(FIRST, retry_after=5.0))


def test_a_server_that_asks_for_a_shorter_wait_does_not_hasten_us() -> None:
    assert Again(1.0) == decide(replace(FIRST, retry_after=0.2))


def test_a_server_that_asks_for_more_than_the_cap_is_not_called_again() -> None:
    assert decide(replace(FIRST, retry_after=8.5)) == GiveUp.TOO_LONG


def test_a_server_that_forbids_it_is_not_called_again() -> None:
    assert decide(replace(FIRST, forbidden=True)) == GiveUp.FORBIDDEN


def test_a_server_that_asks_for_exactly_the_cap_gets_it() -> None:
    assert decide(replace(FIRST, retry_after=8.0)) == Again(8.0)


def test_one_attempt_is_none_more() -> None:
    assert after_failure(Retry(attempts=1), FIRST, 100.0, math.inf, Random(1)) == GiveUp.ATTEMPTS


def test_less_than_one_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="attempts is 0"):
        Retry(attempts=0)
