"""Backoff doubles within its jitter; attempts stay within their number (POL-1, POL-2, properties 7, 12)."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.policy.backoff import Backoff, Jitter
from holdfast.policy.retry import Again, Failure, Retry, after_failure

pytestmark = pytest.mark.slow
SECONDS = st.floats(0, 1e4)
SEEDS = st.integers(0, 2**32)
BACKOFFS = st.one_of(
    st.builds(Backoff, first=SECONDS, factor=st.floats(1, 10), cap=SECONDS, jitter=st.sampled_from(Jitter)),
    st.builds(Backoff.linear, SECONDS, SECONDS, cap=SECONDS, jitter=st.sampled_from(Jitter)),
    st.lists(SECONDS, min_size=1).map(lambda delays: Backoff.listed(*delays)),
)


@given(BACKOFFS, st.integers(1, 10**6), SEEDS, st.none() | SECONDS)
@settings(max_examples=500)
def test_every_delay_is_finite_and_within_the_cap(backoff, failed, seed, before) -> None:
    delay = backoff.delay(failed, Random(seed), before)

    assert 0 <= delay <= backoff.cap
    assert math.isfinite(delay)


@given(st.floats(0.001, 10), st.integers(1, 40))
@settings(max_examples=200)
def test_the_plain_delay_doubles_until_the_cap(first, failed) -> None:
    backoff = Backoff(first=first, cap=1e6)
    this, following = backoff.plain(failed), backoff.plain(failed + 1)

    assert following == 1e6 or math.isclose(following, 2 * this)


@given(BACKOFFS, st.integers(1, 1000), SEEDS)
@settings(max_examples=300)
def test_jitter_never_lengthens_a_delay_but_decorrelated(backoff, failed, seed) -> None:
    delay = backoff.delay(failed, Random(seed))
    match backoff.jitter:
        case Jitter.NONE:
            assert delay == backoff.plain(failed)
        case Jitter.FULL:
            assert delay <= backoff.plain(failed)
        case Jitter.DECORRELATED:
            assert delay >= min(backoff.first, backoff.cap)


@given(
    st.integers(1, 20),
    BACKOFFS,
    st.floats(0, 1e5),
    st.lists(st.tuples(st.none() | st.floats(allow_nan=True), st.booleans(), st.floats(0, 5)), min_size=25),
    SEEDS,
)
@settings(max_examples=500)
def test_attempts_stay_within_their_number_and_waits_within_the_deadline(
    attempts, backoff, allowed, troubles, seed
) -> None:
    rules, dice = Retry(attempts=attempts, backoff=backoff), Random(seed)
    now, made, before = 50.0, 0, None
    deadline_at = now + allowed
    for retry_after, forbidden, took in troubles:
        made += 1
        now += took
        failure = Failure(made, concerned=True, before=before, retry_after=retry_after, forbidden=forbidden)
        decision = after_failure(rules, failure, now, deadline_at, dice)
        if not isinstance(decision, Again):
            break
        assert not forbidden
        assert retry_after is None or not decision.after < retry_after
        before = decision.after
        now += decision.after
        assert now < deadline_at

    assert made <= attempts
