"""The window of the door: an example per row of its table, and what holds for any sequence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.window import BUSY, FIRST, ROUND, Window


def after_rounds(rounds: int, busy: float, largest: int = 20) -> Window:
    window = Window()
    now = cpu = 100.0
    window.answered(now, cpu, largest)
    for _ in range(rounds):
        for _ in range(max(ROUND, window.width)):
            now, cpu = now + 0.01, cpu + 0.01 * busy
            window.answered(now, cpu, largest)
    return window


@pytest.mark.parametrize(
    ("rounds", "busy", "width"),
    [
        (0, 0.0, FIRST),
        (1, 0.1, 2 * FIRST),
        (2, 0.1, 4 * FIRST),
        (9, 0.1, 20),
        (1, BUSY + 0.01, FIRST),
        (9, 1.0, FIRST),
        (9, 2.0, FIRST),  # threads that compute beside
    ],
)
def test_it_opens_while_the_process_is_idle(rounds: int, busy: float, width: int) -> None:
    """DB-6: no faster than the pool can serve, and no wider than helps."""
    assert after_rounds(rounds, busy).width == width


def test_it_is_narrow_again_after_the_next_loss() -> None:
    """DB-6."""
    window = after_rounds(9, 0.1)
    window.narrow()
    assert window.width == FIRST
    window.answered(1.0, 1.0, 20)
    assert window.width == FIRST  # a round begins; the outage does not count as idle time


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 2)), min_size=1, max_size=200),
    st.integers(1, 64),
)
def test_it_never_exceeds_the_pool(answers: list[tuple[float, float]], largest: int) -> None:
    """DB-6: whatever the clocks say."""
    window = Window()
    now = cpu = 0.0
    for passed, computed in answers:
        now, cpu = now + passed, cpu + computed
        window.answered(now, cpu, largest)
        assert FIRST <= window.width <= max(FIRST, largest)
