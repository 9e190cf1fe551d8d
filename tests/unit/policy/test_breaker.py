"""The breaker: one example for each transition, and interleavings of calls under way (POL-4)."""

from __future__ import annotations

import pytest

from holdfast.policy.breaker import (
    TRIAL_S,
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

RULES = Breaker(failures=3, reset_after=60.0)
TWO = Breaker(failures=3, reset_after=60.0, trials=2)
OPEN = Open(generation=1, until=160.0, failures=3)


def sent(rules: Breaker, state: State, now: float) -> State:
    answer = admit(rules, state, now)
    assert not isinstance(answer, Refusal)
    return answer


def test_the_defaults_are_five_failures_and_sixty_seconds() -> None:
    assert (Breaker().failures, Breaker().reset_after, Breaker().trials) == (5, 60.0, 1)
    assert (Breaker().window_s, Breaker().least, Breaker().on) == (30.0, 20, Exception)
    assert TRIAL_S == 1.0


def test_a_closed_circuit_lets_calls_go_and_stays_as_it_is() -> None:
    assert Closed(failures=2) == admit(RULES, Closed(failures=2), 100.0)


def test_a_failure_is_counted() -> None:
    assert Closed(failures=2) == failed(RULES, Closed(), Closed(failures=1), 100.0, 0.1)


def test_a_success_forgets_the_failures_before_it() -> None:
    assert Closed() == succeeded(RULES, Closed(), Closed(failures=2), 100.0, 0.1)


def test_the_last_failure_allowed_opens() -> None:
    assert failed(RULES, Closed(), Closed(failures=2), 100.0, 0.1) == OPEN


def test_an_open_circuit_refuses_and_says_for_how_long() -> None:
    assert Refusal(0.5) == admit(RULES, OPEN, 159.5)


def test_an_open_circuit_lets_one_trial_out_when_its_time_is_over() -> None:
    assert HalfOpen(2, until=220.0, failures=3, out=1) == admit(RULES, OPEN, 160.0)


def test_a_half_open_circuit_refuses_while_its_trial_is_out() -> None:
    trial = sent(RULES, OPEN, 160.0)

    assert Refusal(TRIAL_S) == admit(RULES, trial, 161.0)


def test_a_trial_that_succeeds_closes() -> None:
    trial = sent(RULES, OPEN, 160.0)

    assert Closed(3) == succeeded(RULES, trial, trial, 161.0, 1.0)


def test_a_trial_that_fails_opens_again_for_the_whole_time() -> None:
    trial = sent(RULES, OPEN, 160.0)

    assert Open(3, until=221.0, failures=4) == failed(RULES, trial, trial, 161.0, 1.0)


def test_a_trial_without_a_verdict_gives_its_place_back() -> None:
    trial = sent(RULES, OPEN, 160.0)
    state = released(trial, trial)

    assert HalfOpen(2, until=220.0, failures=3, out=0) == state
    assert HalfOpen(2, until=220.0, failures=3, out=1) == admit(RULES, state, 161.0)


def test_a_trial_that_never_comes_back_does_not_keep_its_place_for_ever() -> None:
    trial = sent(RULES, OPEN, 160.0)

    assert Refusal(0.25) == admit(RULES, trial, 219.75)
    assert HalfOpen(3, until=280.0, failures=3, out=1) == admit(RULES, trial, 220.0)


def test_the_trials_are_bounded_and_all_must_succeed() -> None:
    one = sent(TWO, OPEN, 160.0)
    two = sent(TWO, one, 160.1)

    assert Refusal(TRIAL_S) == admit(TWO, two, 160.2)

    state = succeeded(TWO, one, two, 161.0, 1.0)

    assert HalfOpen(2, until=220.0, failures=3, out=1, good=1) == state
    assert Refusal(TRIAL_S) == admit(TWO, state, 161.0)
    assert Closed(3) == succeeded(TWO, two, state, 161.0, 1.0)


def test_a_check_that_succeeds_closes_at_once() -> None:
    trial = sent(RULES, OPEN, 160.0)

    assert Closed(2) == check_succeeded(OPEN)
    assert Closed(3) == check_succeeded(trial)
    assert Closed(1) == check_succeeded(Closed(failures=2))
    assert Closed() == check_succeeded(Closed())


def test_a_late_failure_cannot_reopen_a_half_open_circuit() -> None:
    early = Closed()  # 1. a call leaves while the circuit is closed
    trial = sent(RULES, OPEN, 160.0)  # 2. others open it; after a minute a trial leaves
    state = failed(RULES, early, trial, 161.0, 61.0)  # 3. the first call fails at last

    assert trial == state
    assert Closed(3) == succeeded(RULES, trial, state, 162.0, 2.0)  # 4. the trial still closes


def test_a_late_success_cannot_close_an_open_circuit() -> None:
    assert succeeded(RULES, Closed(), OPEN, 110.0, 20.0) == OPEN


def test_a_late_trial_cannot_judge_the_trials_after_it() -> None:
    lost = sent(RULES, OPEN, 160.0)  # 1. a trial leaves
    second = sent(RULES, lost, 220.0)  # 2. its place is given to another
    state = failed(RULES, lost, second, 230.0, 70.0)  # 3. it comes back, failed

    assert second == state
    assert second == released(lost, second)
    assert second == succeeded(RULES, lost, second, 230.0, 70.0)


def test_a_failure_from_before_the_circuit_closed_again_is_not_counted() -> None:
    assert Closed(3) == failed(RULES, Closed(0), Closed(3), 300.0, 200.0)


def test_a_result_changes_nothing_in_an_open_circuit() -> None:
    assert failed(RULES, OPEN, OPEN, 110.0, 1.0) == OPEN
    assert succeeded(RULES, OPEN, OPEN, 110.0, 1.0) == OPEN
    assert released(OPEN, OPEN) == OPEN
    assert Closed(failures=2) == released(Closed(), Closed(failures=2))


# ---- the sliding window

RATIO = Breaker(failures=None, failure_ratio=0.5, least=4, window_s=10.0)
SLOW = Breaker(failures=None, slow_ratio=0.5, slow_after=2.0, least=4, window_s=10.0)


def play(rules: Breaker, results: list[tuple[float, bool, float]]) -> State:
    state: State = Closed()
    for now, well, took in results:
        state = succeeded(rules, state, state, now, took) if well else failed(rules, state, state, now, took)
    return state


def test_a_ratio_of_failures_opens_once_there_are_enough_calls() -> None:
    calls = [(100.0, False, 0.0), (101.0, True, 0.0), (102.0, False, 0.0)]

    assert isinstance(play(RATIO, calls), Closed)
    assert Open(1, until=163.0, failures=2) == play(RATIO, [*calls, (103.0, True, 0.0)])


def test_calls_that_left_the_window_do_not_count() -> None:
    calls = [(100.0, False, 0.0), (100.0, False, 0.0), (100.5, False, 0.0), (110.0, False, 0.0)]

    assert isinstance(play(RATIO, [*calls[:3], (109.9, False, 0.0)]), Open)
    assert isinstance(play(RATIO, calls), Closed)


def test_less_than_the_ratio_does_not_open() -> None:
    assert isinstance(play(RATIO, [(100.0, n == 0, 0.0) for n in (1, 0, 0, 0, 1)]), Closed)


def test_a_ratio_of_slow_calls_opens_though_none_failed() -> None:
    calls = [(100.0, True, 2.0), (101.0, True, 0.1), (102.0, True, 1.9), (103.0, True, 3.0)]

    assert isinstance(play(SLOW, calls), Open)
    assert isinstance(play(SLOW, [*calls[:3], (103.0, True, 1.99)]), Closed)


def test_a_slow_failure_counts_as_slow_too() -> None:
    assert isinstance(play(SLOW, [(100.0, False, 2.0)] * 4), Open)


def test_a_slow_trial_opens_again() -> None:
    trial = sent(SLOW, OPEN, 160.0)

    assert Open(3, until=223.0, failures=4) == succeeded(SLOW, trial, trial, 163.0, 3.0)


def test_a_result_whose_clock_was_read_earlier_counts_in_the_latest_tenth() -> None:
    state = play(RATIO, [(105.0, True, 0.0), (104.0, False, 0.0)])

    assert isinstance(state, Closed)
    assert [(tally.calls, tally.failed) for tally in state.window] == [(2, 1)]


def test_the_window_holds_no_more_than_its_tenths() -> None:
    state = play(RATIO, [(n / 10, True, 0.0) for n in range(1000)])

    assert isinstance(state, Closed)
    assert len(state.window) == 10


def test_a_closed_circuit_starts_with_an_empty_window() -> None:
    opened = play(RATIO, [(100.0, False, 0.0)] * 4)
    trial = sent(RATIO, opened, 160.0)

    assert Closed(3) == succeeded(RATIO, trial, trial, 161.0, 0.0)


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ({"failures": 0}, "failures is 0"),
        ({"trials": 0}, "trials is 0"),
        ({"least": 0}, "least is 0"),
        ({"reset_after": 0.0}, "reset_after is 0.0"),
        ({"window_s": float("inf")}, "window_s is inf"),
        ({"failure_ratio": 1.5}, "failure_ratio is 1.5"),
        ({"slow_ratio": 0.0, "slow_after": 1.0}, "slow_ratio is 0.0"),
        ({"slow_ratio": 0.5}, "slow_ratio and slow_after need each other"),
    ],
)
def test_impossible_rules_are_refused_by_name_and_value(rules, named) -> None:
    with pytest.raises(ValueError, match=named):
        Breaker(**rules)
