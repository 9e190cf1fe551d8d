"""The breaker under random schedules: never starves, is never misled by the late (POL-4, property 20)."""

from __future__ import annotations

import threading
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.guard import Circuit, Refused
from holdfast.policy.breaker import (
    Breaker,
    Closed,
    HalfOpen,
    Open,
    Refusal,
    State,
    admit,
    check_succeeded,
    failed,
    released,
    succeeded,
)

pytestmark = pytest.mark.slow
RATIOS = st.none() | st.sampled_from([0.1, 0.5, 1.0])


@st.composite
def rules_of_breakers(draw) -> Breaker:
    slow = draw(RATIOS)
    return Breaker(
        failures=draw(st.none() | st.integers(1, 4)),
        reset_after=draw(st.sampled_from([1.0, 7.5, 60.0])),
        trials=draw(st.integers(1, 3)),
        failure_ratio=draw(RATIOS),
        slow_ratio=slow,
        slow_after=None if slow is None else 2.0,
        window_s=draw(st.sampled_from([1.0, 10.0])),
        least=draw(st.integers(1, 6)),
    )


class BreakerSchedule(RuleBasedStateMachine):
    """Calls leave, stay away for any time, and come back in any order, or never."""

    @initialize(rules=rules_of_breakers())
    def begin(self, rules: Breaker) -> None:
        self.rules = rules
        self.state: State = Closed()
        self.now = 1000.0
        self.under_way: list[tuple[State, float]] = []
        self.in_a_row = 0
        self.judged_in = 0

    def become(self, state: State) -> None:
        if state.generation != self.state.generation:
            assert state.generation == self.state.generation + 1
            self.in_a_row = 0
        self.state = state

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_call_asks_to_go(self) -> None:
        before = self.state
        answer = admit(self.rules, before, self.now)
        if isinstance(answer, Refusal):
            assert 0 < answer.retry_after <= self.rules.reset_after + 1e-6
            assert not isinstance(before, Closed)
            return
        assert not (isinstance(before, Open) and self.now < before.until)
        self.become(answer)
        self.under_way.append((answer, self.now))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), end=st.sampled_from([succeeded, failed, released]))
    def a_call_comes_back(self, data, end) -> None:
        which = data.draw(st.integers(0, len(self.under_way) - 1))
        sent_in, began = self.under_way.pop(which)
        before = self.state
        if end is released:
            after = released(sent_in, before)
        else:
            after = end(self.rules, sent_in, before, self.now, self.now - began)
        if sent_in.generation != before.generation:
            assert after == before  # law 1
            return
        if isinstance(before, Closed) and end is not released:
            self.in_a_row = self.in_a_row + 1 if end is failed else 0
            if isinstance(after, Closed):
                assert after.failures == self.in_a_row
                assert self.rules.failures is None or self.in_a_row < self.rules.failures
            elif not self.rules.windowed:
                assert self.in_a_row == self.rules.failures
        if isinstance(before, HalfOpen) and end is failed:
            assert isinstance(after, Open)
            assert after.until == self.now + self.rules.reset_after
        self.become(after)

    @rule()
    def a_check_succeeds(self) -> None:
        self.become(check_succeeded(self.state))
        assert isinstance(self.state, Closed)
        self.in_a_row = 0

    @invariant()
    def trials_are_bounded(self) -> None:
        if isinstance(self.state, HalfOpen):
            out = [sent for sent, _ in self.under_way if sent.generation == self.state.generation]
            assert self.state.out == len(out)
            assert 0 <= self.state.out + self.state.good <= self.rules.trials
            assert self.state.good < self.rules.trials

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Law 2: whatever is under way, within `reset_after` some call is let out."""
        later = self.now + self.rules.reset_after + 1e-6

        assert not isinstance(admit(self.rules, self.state, later), Refusal)

    @invariant()
    def memory_is_bounded(self) -> None:
        if isinstance(self.state, Closed):
            assert len(self.state.window) <= 10


TestBreakerSchedule = BreakerSchedule.TestCase
TestBreakerSchedule.settings = settings(max_examples=500, stateful_step_count=40, deadline=None)


class Ticking:
    """A clock that a hundredth of a second passes on at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.01
        return self.now

    def wall(self) -> float:
        return self.now


@given(st.integers(0, 2**32), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_threads_neither_block_each_other_nor_wear_the_circuit_out(seed, trials) -> None:
    """Property 20: after any schedule of results a success closes the circuit, and no place is lost."""
    clock = Ticking()
    circuit = Circuit("any", Breaker(failures=2, reset_after=0.2, trials=trials), clock)

    def calls(dice: Random) -> None:
        for _ in range(30):
            try:
                sent_in = circuit.admit()
            except Refused:
                continue
            began, fate = clock.now, dice.random()
            if fate < 0.5:
                circuit.succeeded(sent_in, began)
            else:
                circuit.ended(sent_in, OSError() if fate < 0.9 else KeyboardInterrupt(), began)

    threads = [threading.Thread(target=calls, args=(Random(seed + n),)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()

    assert not isinstance(circuit.state, HalfOpen) or circuit.state.out == 0
    clock.now += 1
    for _ in range(trials):
        circuit.succeeded(circuit.admit(), clock.now)
    assert isinstance(circuit.state, Closed)
