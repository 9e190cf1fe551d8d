"""The retry budget: what calls and time put in, and what retries take out (POL-3)."""

from __future__ import annotations

import math

import pytest

from holdfast.policy.budget import Bucket, Budget, earn, full, spend

RULES = Budget(share=0.1, reserved_per_s=2.0, window_s=10.0)


def test_a_new_bucket_holds_the_reserve_of_one_window() -> None:
    assert Bucket(20.0, 7, 100.0) == full(RULES, 7, 100.0)


def test_a_retry_takes_one_token() -> None:
    assert (Bucket(1.5, 0, 0.0), True) == spend(RULES, Bucket(2.5, 0, 0.0), 0, 0.0)


def test_a_tenth_of_the_traffic_and_ten_a_second_are_the_default() -> None:
    assert Budget() == Budget(share=0.1, reserved_per_s=10.0, window_s=10.0)


def test_exactly_one_token_is_one_retry() -> None:
    assert spend(RULES, Bucket(1.0, 0, 0.0), 0, 0.0) == (Bucket(0.0, 0, 0.0), True)


def test_a_budget_of_nothing_is_allowed() -> None:
    nothing = Budget(share=0.0, reserved_per_s=0.0)

    assert spend(nothing, full(nothing, 0, 1.0), 5, 1.0) == (Bucket(0.0, 5, 1.0), False)


def test_less_than_one_token_is_no_retry() -> None:
    assert (Bucket(0.9, 0, 0.0), False) == spend(RULES, Bucket(0.9, 0, 0.0), 0, 0.0)


def test_ten_calls_put_in_one_retry() -> None:
    assert Bucket(1.0, 10, 0.0) == earn(RULES, Bucket(0.0, 0, 0.0), 10, 0.0)


def test_seconds_put_in_the_reserved_rate() -> None:
    earned = earn(RULES, Bucket(0.0, 0, 0.0), 0, 0.1)

    assert earned.tokens == pytest.approx(0.2, rel=0.01)


def test_silence_leaves_the_reserve_and_nothing_else() -> None:
    earned = earn(RULES, Bucket(500.0, 0, 0.0), 0, 1000.0)

    assert earned.tokens == pytest.approx(20.0)


def test_steady_traffic_fills_the_bucket_with_one_window_of_its_share() -> None:
    bucket = full(RULES, 0, 0.0)
    for second in range(1, 101):
        bucket = earn(RULES, bucket, 50 * second, float(second))

    assert bucket.tokens == pytest.approx(10.0 * (2.0 + 0.1 * 50), rel=1e-3)


def test_how_often_we_look_does_not_matter() -> None:
    once = earn(RULES, Bucket(5.0, 0, 0.0), 400, 8.0)
    bucket = Bucket(5.0, 0, 0.0)
    for n in range(1, 81):
        bucket = earn(RULES, bucket, 5 * n, n / 10)

    assert bucket.tokens == pytest.approx(once.tokens)


def test_a_clock_or_a_count_that_another_thread_read_earlier_changes_nothing() -> None:
    bucket = Bucket(5.0, 100, 50.0)

    assert bucket == earn(RULES, bucket, 90, 49.0)


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ({"share": -0.1}, "share is -0.1"),
        ({"reserved_per_s": math.inf}, "reserved_per_s is inf"),
        ({"window_s": 0.0}, "window_s is 0"),
    ],
)
def test_an_impossible_budget_is_refused_by_name_and_value(rules, named) -> None:
    with pytest.raises(ValueError, match=named):
        Budget(**rules)
