"""Backoff: the formulas and their bounds (POL-1, property 12)."""

from __future__ import annotations

import math
from random import Random

import pytest

from holdfast.policy.backoff import Backoff, Jitter

DICE = Random(7)


def plain(backoff: Backoff, times: int) -> list[float]:
    return [backoff.delay(n, DICE) for n in range(1, times + 1)]


def test_the_default_waits_a_tenth_of_a_second_and_doubles() -> None:
    assert pytest.approx([Backoff().plain(n) for n in range(1, 5)]) == [0.1, 0.2, 0.4, 0.8]


def test_no_delay_exceeds_the_cap() -> None:
    backoff = Backoff(first=2.0, factor=1.5, cap=10.0, jitter=Jitter.NONE)

    assert plain(backoff, 6) == [2.0, 3.0, 4.5, 6.75, 10.0, 10.0]


def test_linear_grows_by_its_first_delay_unless_told_a_step() -> None:
    assert plain(Backoff.linear(2.0, cap=10.0, jitter=Jitter.NONE), 6) == [2.0, 4.0, 6.0, 8.0, 10.0, 10.0]
    assert plain(Backoff.linear(1.0, 0.5, jitter=Jitter.NONE), 3) == [1.0, 1.5, 2.0]


def test_listed_repeats_its_last_delay() -> None:
    assert plain(Backoff.listed(2.0, 4.0, 1.0), 4) == [2.0, 4.0, 1.0, 1.0]


def test_full_jitter_falls_between_nothing_and_the_delay() -> None:
    delays = [Backoff(first=1.0).delay(3, DICE) for _ in range(200)]

    assert 0.0 <= min(delays) < 0.5
    assert 3.5 < max(delays) <= 4.0


def test_decorrelated_jitter_falls_between_the_first_and_three_times_the_one_before() -> None:
    backoff = Backoff(first=1.0, cap=5.0, jitter=Jitter.DECORRELATED)

    assert all(1.0 <= backoff.delay(1, DICE) <= 3.0 for _ in range(100))
    assert all(1.0 <= backoff.delay(2, DICE, before=1.5) <= 4.5 for _ in range(100))
    assert all(1.0 <= backoff.delay(9, DICE, before=5.0) <= 5.0 for _ in range(100))
    assert max(backoff.delay(1, DICE) for _ in range(100)) > 2.5


def test_a_factor_of_one_and_a_wait_of_nothing_are_allowed() -> None:
    assert plain(Backoff(first=0.5, factor=1.0, jitter=Jitter.NONE), 2) == [0.5, 0.5]
    assert plain(Backoff(first=0.0, jitter=Jitter.NONE), 2) == [0.0, 0.0]


def test_the_cap_is_half_a_minute_unless_said() -> None:
    assert (Backoff.linear(1.0).cap, Backoff().cap) == (30.0, 30.0)


def test_thousands_of_attempts_do_not_overflow() -> None:
    assert Backoff().plain(100_000) == 30.0
    assert Backoff(first=0.0).plain(100_000) == 0.0


def test_the_same_dice_give_the_same_delays() -> None:
    one, other = Random(3), Random(3)

    assert [Backoff().delay(n, one) for n in range(1, 9)] == [Backoff().delay(n, other) for n in range(1, 9)]


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Backoff(first=-1.0), "first is -1.0"),
        (lambda: Backoff(cap=math.inf), "cap is inf"),
        (lambda: Backoff(factor=0.5), "factor is 0.5"),
        (lambda: Backoff(step=math.nan), "step is nan"),
        (lambda: Backoff(delays=(1.0, -2.0)), r"delays\[1\] is -2.0"),
        (lambda: Backoff.listed(), "no delays"),
    ],
)
def test_an_impossible_backoff_is_refused_by_name_and_value(make, named) -> None:
    with pytest.raises(ValueError, match=named):
        make()
