"""The window of the door: an example per row of its table, and what holds for any sequence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.window import BUSY, FIRST, LONGEST, ONE, ROUND, SHARED, TURNS, Usage, Window


class Emptying:
    """A window that learns of rounds of answers, 10 ms apart."""

    def __init__(self, largest: int = 20) -> None:
        self.window = Window()
        self.now, self.used, self.largest = 100.0, Usage(100.0, 0), largest
        self._answer(0.0, 0)

    def rounds(self, number: int, busy: float, waits: int = 0) -> Window:
        """*busy* is the share of one core, *waits* how often threads waited for each answer."""
        for _ in range(number):
            for _ in range(max(ROUND, self.window.width)):
                self.now += 0.01
                self._answer(0.01 * busy, waits)
        return self.window

    def _answer(self, computed: float, waits: int) -> None:
        self.used = Usage(self.used.computed + computed, self.used.waited + waits)
        self.window.answered(self.now, self.used, self.largest)


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
    assert Emptying().rounds(rounds, busy).width == width


def test_it_is_narrow_again_after_the_next_loss() -> None:
    """DB-6."""
    window = Emptying().rounds(9, 0.1)
    window.narrow()
    assert window.width == FIRST
    window.answered(1.0, Usage(1.0, 0), 20)
    assert window.width == FIRST  # a round begins; the outage does not count as idle time


@pytest.mark.parametrize(
    ("busy", "waits", "one_core"),
    [
        (BUSY - 0.01, TURNS, False),  # waits for something far away
        (BUSY + 0.01, TURNS, True),
        (ONE - 0.01, TURNS, True),
        (ONE + 0.01, TURNS, False),  # threads that compute beside each other
        (1.0, TURNS - 1, False),  # one thread: nothing to bring together
    ],
)
def test_threads_that_take_turns_are_best_on_one_core(busy: float, waits: int, one_core: bool) -> None:
    """DB-6: the second after an outage is the one that counts."""
    assert Emptying().rounds(1, busy, waits).one_core is one_core


def test_on_one_core_threads_need_not_wait_to_stay_there() -> None:
    """DB-6: there they are put aside instead of waiting; it is what was to be had."""
    emptying = Emptying()
    assert emptying.rounds(1, 1.0, TURNS).one_core
    assert emptying.rounds(1, 1.0, 0).one_core


def test_on_one_core_a_little_less_is_no_sign_of_idleness() -> None:
    """DB-6: the database's own processes come and go there, if it is on the same machine."""
    emptying = Emptying()
    emptying.rounds(1, 1.0, TURNS)
    assert emptying.rounds(3, SHARED + 0.01, 0).one_core
    assert emptying.window.width == FIRST


@pytest.mark.parametrize("busy", [SHARED - 0.01, ONE + 0.01])
def test_one_core_that_is_shared_or_idle_is_left_and_not_tried_again(busy: float) -> None:
    """DB-6: of another process on the same core we see only that we compute less."""
    emptying = Emptying()
    emptying.rounds(1, 1.0, TURNS)
    assert not emptying.rounds(1, busy, TURNS).one_core
    assert not emptying.rounds(5, 1.0, TURNS).one_core
    emptying.window.narrow()  # the next outage
    assert emptying.rounds(2, 1.0, TURNS).one_core


def test_nobody_stays_on_one_core_for_long() -> None:
    """DB-6: a line that new ones join all the time may never end."""
    emptying = Emptying()
    stayed = 0
    while emptying.rounds(1, 1.0, TURNS).one_core:
        stayed += 1
    assert LONGEST <= stayed * ROUND * 0.01 < LONGEST + 2 * ROUND * 0.01


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 2), st.integers(0, 9)), min_size=1, max_size=200),
    st.integers(1, 64),
)
def test_it_never_exceeds_the_pool(answers: list[tuple[float, float, int]], largest: int) -> None:
    """DB-6: whatever the clocks say; and on one core it never opens."""
    window = Window()
    now, used = 0.0, Usage(0.0, 0)
    for passed, computed, waits in answers:
        before = window.width
        now, used = now + passed, Usage(used.computed + computed, used.waited + waits)
        window.answered(now, used, largest)
        assert FIRST <= window.width <= max(FIRST, largest)
        assert not window.one_core or window.width <= before
