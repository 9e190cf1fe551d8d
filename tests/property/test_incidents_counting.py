"""Nothing gets lost between telling in full, counting and settling (LOG-5)."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.telemetry.counting import (
    LINE_S,
    Counted,
    Fingerprint,
    Full,
    Quiet,
    Seen,
    expire,
    settle,
    step,
    template,
)

KEY = Fingerprint("shop", "error", None, "it broke")
gaps = st.lists(
    st.floats(0.0, 100.0, allow_nan=False) | st.floats(0.0, 2.0, allow_nan=False), min_size=1, max_size=200
)


@settings(max_examples=500)
@given(gaps)
def test_every_failure_is_told_or_counted_exactly_once(waits: list[float]):
    seen: Seen | None = None
    now, told, counted = 0.0, 0, 0
    told_at: list[float] = []
    for wait in waits:
        now += wait
        seen, verdict = step(seen, now)
        match verdict:
            case Full(earlier):
                told, counted = told + 1, counted + earlier
                told_at.append(now)
            case Counted(times):
                counted += times
                told_at.append(now)
            case Quiet():
                pass
    assert seen is not None
    _, untold = settle({KEY: seen}, now)

    assert len(waits) == told + counted + sum(untold.values())
    assert all(later - earlier >= LINE_S for earlier, later in pairwise(told_at))


@settings(max_examples=500)
@given(st.dictionaries(st.integers(0, 50), st.tuples(st.floats(0, 200), st.integers(0, 9)), max_size=20))
def test_expiring_loses_nothing_that_was_not_told(seen: dict[int, tuple[float, int]]):
    state = {
        KEY._replace(message=str(number)): Seen(told_at=0.0, last_at=last_at, untold=untold)
        for number, (last_at, untold) in seen.items()
    }
    left, untold = expire(state, 200.0)

    before = sum(one.untold for one in state.values())
    assert sum(untold.values()) + sum(one.untold for one in left.values()) == before
    assert not set(untold) & set(left)
    assert settle(left, 200.0)[1] == {key: one.untold for key, one in left.items() if one.untold}


@settings(max_examples=500)
@given(st.text(max_size=400), st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_never_tell_two_failures_apart(text: str, one: int, other: int):
    assert template(f"{one} {text[:50]}") == template(f"{other} {text[:50]}")
