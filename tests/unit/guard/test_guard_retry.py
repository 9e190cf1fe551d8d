"""guard round plain functions: attempts, notes, the budget (POL-2, POL-3, POL-7)."""

from __future__ import annotations

import pytest
from guard_scripts import EXACT, RETRY, Scripted

from holdfast.events import RetryScheduled
from holdfast.guard import RetryBudget, guard
from holdfast.policy.backoff import Backoff
from holdfast.policy.breaker import Breaker
from holdfast.policy.budget import Budget
from holdfast.policy.retry import Retry


def test_a_call_that_succeeds_is_made_once(make) -> None:
    work = Scripted()

    assert make(timeout=2, retry=RETRY, breaker=Breaker())(work)(9) == 9
    assert work.calls == 1


def test_a_transient_failure_is_attempted_again_after_the_backoff(make, clock, told) -> None:
    work = Scripted(ConnectionResetError(), ConnectionResetError())

    assert make(retry=RETRY)(work)() == 7
    assert (work.calls, clock.now) == (3, 1003.0)
    assert [
        RetryScheduled(guard="payments", attempt=1, delay_s=1.0, cause="ConnectionResetError"),
        RetryScheduled(guard="payments", attempt=2, delay_s=2.0, cause="ConnectionResetError"),
    ] == told


def test_what_is_not_transient_is_attempted_once(make) -> None:
    work = Scripted(KeyError("sku"))

    with pytest.raises(KeyError) as caught:
        make(retry=RETRY)(work)()
    assert work.calls == 1
    assert caught.value.__notes__ == [
        "guard 'payments': attempted once in 0.00 s; not again: this failure is not one to retry"
    ]


def test_without_a_retry_there_is_nothing_to_tell(make) -> None:
    with pytest.raises(ConnectionResetError) as caught:
        make(timeout=2)(Scripted(ConnectionResetError()))()
    assert not hasattr(caught.value, "__notes__")


def test_on_names_what_is_attempted_again(make) -> None:
    work = Scripted(KeyError("sku"))

    assert make(retry=Retry(on=KeyError, backoff=EXACT))(work)() == 7


def test_the_last_error_comes_out_untouched_but_for_a_note(make) -> None:
    last = ConnectionResetError("third")
    work = Scripted(ConnectionResetError("first"), ConnectionResetError("second"), last)

    with pytest.raises(ConnectionResetError) as caught:
        make(retry=RETRY)(work)()
    assert caught.value is last
    assert (last.args, last.__notes__) == (
        ("third",),
        ["guard 'payments': attempted 3 times in 3.00 s; not again: all attempts are used up"],
    )


def test_an_error_object_raised_again_and_again_gathers_no_notes(make) -> None:
    kept = ConnectionResetError()
    guarded = make(retry=Retry(attempts=2, backoff=EXACT))(Scripted(*[kept] * 20))
    for _ in range(10):
        with pytest.raises(ConnectionResetError):
            guarded()

    assert len(kept.__notes__) == 1


def test_no_wait_reaches_the_deadline(make, clock) -> None:
    work = Scripted(*[ConnectionResetError() for _ in range(9)])

    with pytest.raises(ConnectionResetError) as caught:
        make(timeout=2.5, retry=Retry(attempts=9, backoff=EXACT))(work)()
    assert (work.calls, clock.now) == (2, 1001.0)
    assert "the deadline comes before the next attempt" in caught.value.__notes__[0]


def test_retry_after_of_the_error_is_honoured(make, clock) -> None:
    busy = ConnectionError()
    busy.retry_after = 5

    assert make(retry=RETRY)(Scripted(busy))() == 7
    assert clock.now == 1005.0


def test_do_not_retry_of_the_error_is_honoured(make) -> None:
    final = ConnectionError()
    final.retry_after, final.do_not_retry = None, True
    work = Scripted(final)

    with pytest.raises(ConnectionError):
        make(retry=RETRY)(work)()
    assert work.calls == 1


def test_a_spent_budget_stops_retries_but_not_calls(make, clock) -> None:
    budget = RetryBudget(Budget(share=0.0, reserved_per_s=0.1, window_s=10.0), clock)
    work = Scripted(*[ConnectionResetError() for _ in range(4)])
    guarded = make(retry=Retry(attempts=2, backoff=Backoff(first=0.0)), budget=budget)(work)
    for _ in range(3):
        with pytest.raises(ConnectionResetError) as caught:
            guarded()

    assert work.calls == 4
    assert "the retry budget is spent" in caught.value.__notes__[0]


def test_the_process_budget_is_on_by_default() -> None:
    before = guard("one")._terms.budget

    assert before is guard("other")._terms.budget


def test_successes_earn_retries(make, clock) -> None:
    budget = RetryBudget(Budget(share=0.5, reserved_per_s=0.0), clock)
    guarded = make(retry=Retry(attempts=2, backoff=Backoff(first=0.0)), budget=budget)(Scripted())
    guarded()
    guarded()

    assert (budget.take(), budget.take()) == (True, False)
