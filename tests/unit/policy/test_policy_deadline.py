"""Deadlines only move closer (POL-5); exceptions are matched by type or predicate (POL-4)."""

from __future__ import annotations

import asyncio

from holdfast.policy.deadline import NEVER, left, shrink, soonest
from holdfast.policy.matching import concerns


def test_the_soonest_deadline_binds() -> None:
    assert soonest(None, 7.0, 5.0) == 5.0


def test_no_deadline_is_never() -> None:
    assert soonest(None, None) == NEVER


def test_an_inner_deadline_cannot_be_later_than_the_outer_one() -> None:
    assert shrink(105.0, 100.0, 30.0) == 105.0


def test_an_inner_deadline_may_be_sooner() -> None:
    assert shrink(105.0, 100.0, 2.0) == 102.0


def test_without_a_timeout_the_outer_deadline_stays() -> None:
    assert shrink(105.0, 100.0, None) == 105.0


def test_what_is_left_is_never_negative() -> None:
    assert (left(103.0, 100.0), left(99.0, 100.0)) == (3.0, 0.0)


def test_types_and_predicates_name_exceptions() -> None:
    assert concerns(OSError, ConnectionError())
    assert not concerns((KeyError, OSError), ValueError())
    assert concerns(lambda error: "busy" in str(error), RuntimeError("busy"))


def test_a_cancellation_is_never_a_failure() -> None:
    assert not concerns(lambda error: True, asyncio.CancelledError())
    assert not concerns(Exception, KeyboardInterrupt())
