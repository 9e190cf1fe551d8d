"""Retries never exceed the start, the share of the calls and the reserved rate together (POL-3)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.policy.budget import Budget, earn, full, spend

pytestmark = pytest.mark.slow
BUDGETS = st.builds(
    Budget, share=st.floats(0, 1), reserved_per_s=st.floats(0, 100), window_s=st.floats(0.1, 100)
)
STEPS = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 20), st.booleans()), max_size=80)


@given(BUDGETS, STEPS)
@settings(max_examples=500)
def test_retries_never_exceed_what_was_put_in(rules, steps) -> None:
    bucket, calls, now, granted = full(rules, 0, 0.0), 0, 0.0, 0
    for more, passed, asks in steps:
        calls += more
        now += passed
        if asks:
            bucket, may = spend(rules, bucket, calls, now)
            granted += may
        assert bucket.tokens >= 0

    most = rules.reserved_per_s * (rules.window_s + now) + rules.share * calls
    assert granted <= most * (1 + 1e-9) + 1e-6


@given(BUDGETS, st.integers(0, 10**6), st.floats(0, 1e6))
@settings(max_examples=300)
def test_a_bucket_left_alone_never_holds_more_than_a_window_of_reserve_and_the_calls_share(
    rules, calls, passed
) -> None:
    bucket = earn(rules, full(rules, 0, 0.0), calls, passed)

    most = rules.reserved_per_s * rules.window_s + rules.share * calls
    assert 0 <= bucket.tokens <= most * (1 + 1e-9) + 1e-6


@given(BUDGETS.filter(lambda rules: rules.reserved_per_s * rules.window_s > 1.1), st.floats(0, 1))
@settings(max_examples=200)
def test_a_spent_budget_recovers_without_traffic(rules, tokens) -> None:
    empty = full(rules, 0, 0.0)
    spent = type(empty)(tokens, 0, 0.0)

    assert spend(rules, spent, 0, 10 * rules.window_s)[1]
