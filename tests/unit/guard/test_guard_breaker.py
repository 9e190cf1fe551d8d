"""guard round plain functions: the circuit, from one thread and from many (POL-4, POL-7)."""

from __future__ import annotations

import contextlib
import threading

import pytest
from guard_scripts import EXACT, RETRY, Scripted

from holdfast.events import BreakerChanged
from holdfast.guard import Circuit, Refused
from holdfast.policy.breaker import Breaker, Closed, Open
from holdfast.policy.retry import Retry


def test_an_open_circuit_refuses_without_calling(make, clock, told) -> None:
    work = Scripted(*[ConnectionResetError() for _ in range(2)])
    guarded = make(breaker=Breaker(failures=2, reset_after=60))(work)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            guarded()
    clock.now += 20

    with pytest.raises(Refused, match=r"'payments' was not called: .* ask again in 40.00 s") as caught:
        guarded()
    assert (work.calls, caught.value.retry_after) == (2, 40.0)
    assert [BreakerChanged(breaker="payments", state="open", failures=2)] == told


def test_a_trial_closes_the_circuit_again(make, clock, told) -> None:
    guarded = make(breaker=Breaker(failures=1, reset_after=60))(Scripted(OSError()))
    with pytest.raises(OSError):
        guarded()
    clock.now += 60

    assert guarded() == 7
    assert [event.state for event in told] == ["open", "half_open", "closed"]


def test_a_refusal_is_a_new_exception_each_time(make) -> None:
    guarded = make(breaker=Breaker(failures=1))(Scripted(OSError()))
    with pytest.raises(OSError):
        guarded()
    refusals = []
    for _ in range(2):
        with pytest.raises(Refused) as caught:
            guarded()
        refusals.append(caught.value)

    assert refusals[0] is not refusals[1]


def test_the_breaker_counts_only_what_it_is_told_to(make) -> None:
    guarded = make(breaker=Breaker(failures=1, on=(OSError,)))(Scripted(KeyError(), OSError()))
    with pytest.raises(KeyError):
        guarded()
    with pytest.raises(OSError):
        guarded()
    with pytest.raises(Refused):
        guarded()


def test_a_success_between_failures_starts_the_count_anew(make) -> None:
    one = make(breaker=Breaker(failures=2))
    for _ in range(3):
        with pytest.raises(OSError):
            one(Scripted(OSError()))()
        one(Scripted())()

    assert Closed() == one.circuit.state


def test_a_circuit_that_opens_between_attempts_ends_them_with_the_original_error(make) -> None:
    work = Scripted(*[ConnectionResetError() for _ in range(9)])

    with pytest.raises(ConnectionResetError) as caught:
        make(retry=Retry(attempts=5, backoff=EXACT), breaker=Breaker(failures=2))(work)()
    assert work.calls == 2
    assert "attempted 2 times in 1.00 s; not again: the circuit is open" in caught.value.__notes__[0]


def test_a_wait_as_long_as_the_circuit_is_open_makes_the_next_attempt_its_trial(make, told) -> None:
    work = Scripted(ConnectionResetError())

    assert make(retry=RETRY, breaker=Breaker(failures=1, reset_after=1.0))(work)() == 7
    assert [event.state for event in told if isinstance(event, BreakerChanged)] == [
        "open",
        "half_open",
        "closed",
    ]


def test_an_inner_refusal_opens_no_outer_circuit(make) -> None:
    outer = make("shop", breaker=Breaker(failures=1))
    with pytest.raises(Refused):
        outer(Scripted(Refused("payments", 3.0)))()

    assert Closed() == outer.circuit.state


def test_functions_guarded_by_one_object_share_its_circuit(make) -> None:
    one = make(breaker=Breaker(failures=1))
    with pytest.raises(OSError):
        one(Scripted(OSError()))()

    with pytest.raises(Refused):
        one(Scripted())()


def test_guards_may_share_a_circuit(make, clock) -> None:
    circuit = Circuit("payments", Breaker(failures=1), clock)
    with pytest.raises(OSError):
        make(breaker=circuit)(Scripted(OSError()))()

    with pytest.raises(Refused):
        make(breaker=circuit, retry=RETRY)(Scripted())()


def test_a_check_that_succeeds_closes_at_once(make) -> None:
    one = make(breaker=Breaker(failures=1))
    with pytest.raises(OSError):
        one(Scripted(OSError()))()
    one.circuit.check_succeeded()

    assert one(Scripted())() == 7


def test_a_windowed_breaker_counts_successes_too(make) -> None:
    one = make(breaker=Breaker(failures=None, failure_ratio=0.5, least=4))
    for _ in range(2):
        one(Scripted())()
        with pytest.raises(OSError):
            one(Scripted(OSError()))()

    assert isinstance(one.circuit.state, Open)


def test_a_slow_call_is_one_that_took_as_long_as_the_rules_say(make, clock) -> None:
    one = make(breaker=Breaker(failures=None, slow_ratio=1.0, slow_after=2.0, least=1))

    def takes(seconds: float, error: Exception | None = None) -> None:
        clock.sleep(seconds)
        if error is not None:
            raise error

    with pytest.raises(OSError):
        one(takes)(1.5, OSError())
    one(takes)(1.5)
    assert isinstance(one.circuit.state, Closed)
    one.circuit.check_succeeded()
    clock.now += 100
    with pytest.raises(OSError):
        one(takes)(2.0, OSError())
    assert isinstance(one.circuit.state, Open)


def test_only_a_success_that_changes_something_is_reported(make, clock) -> None:
    one = make(breaker=Breaker(failures=2, reset_after=1))
    quiet = [one.circuit.restless]
    for error in (OSError(), None, OSError(), OSError()):
        with contextlib.suppress(OSError):
            one(Scripted(*[error] if error else []))()
        quiet.append(one.circuit.restless)
    clock.now += 1
    one(lambda: quiet.append(one.circuit.restless))()
    quiet.append(one.circuit.restless)

    assert quiet == [False, True, False, True, True, True, False]
    assert make(breaker=Breaker(failure_ratio=0.5)).circuit.restless


def test_what_is_no_exception_frees_the_trial_and_is_no_failure(make, clock) -> None:
    one = make(breaker=Breaker(failures=1), retry=RETRY)
    with pytest.raises(OSError):
        one(Scripted(OSError()))()
    clock.now += 60
    work = Scripted(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt) as caught:
        one(work)()
    assert not hasattr(caught.value, "__notes__")

    assert one.circuit.state.out == 0
    assert one(work)() == 7


def test_no_lock_is_held_during_a_call(make) -> None:
    one = make(breaker=Breaker(failures=1))
    inside, go_on = threading.Event(), threading.Event()
    first = threading.Thread(target=one(lambda: (inside.set(), go_on.wait(10))))
    first.start()
    assert inside.wait(10)

    assert one(Scripted())() == 7  # 2. while 1. is still under way
    go_on.set()
    first.join(10)


def test_of_many_threads_one_carries_the_trial(make, clock) -> None:
    one = make(breaker=Breaker(failures=1, reset_after=1))
    with pytest.raises(OSError):
        one(Scripted(OSError()))()
    clock.now += 1
    begin, results = threading.Barrier(9), []
    refused = threading.Event()

    def trial() -> None:
        refused.wait(10)

    def call() -> None:
        begin.wait(10)
        try:
            one(trial)()
        except Refused:
            results.append("refused")
            if len(results) == 7:
                refused.set()
        else:
            results.append("went")

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    begin.wait(10)
    for thread in threads:
        thread.join(10)

    assert results == ["refused"] * 7 + ["went"]
    assert isinstance(one.circuit.state, Closed)
