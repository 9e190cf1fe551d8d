"""guard round coroutine functions, and cancellation at every await (POL-2, POL-4, POL-7)."""

from __future__ import annotations

import asyncio
import functools

import pytest
from guard_scripts import RETRY, ScriptedAsync, live

from holdfast.guard import Refused, RetryBudget, time_left
from holdfast.policy.breaker import Breaker, Closed
from holdfast.policy.retry import Retry


def test_a_transient_failure_is_attempted_again_after_the_backoff(make, clock, run) -> None:
    work = ScriptedAsync(ConnectionResetError(), ConnectionResetError())

    assert run(make(timeout=10, retry=RETRY)(work)(9)) == 9
    assert (work.calls, clock.now) == (3, 1003.0)


def test_the_last_error_comes_out_untouched_but_for_a_note(make, run) -> None:
    last = ConnectionResetError("third")
    work = ScriptedAsync(ConnectionResetError("first"), ConnectionResetError("second"), last)

    with pytest.raises(ConnectionResetError) as caught:
        run(make(timeout=10, retry=RETRY)(work)())
    assert caught.value is last
    assert last.__notes__ == [
        "guard 'payments': attempted 3 times in 3.00 s; not again: all attempts are used up"
    ]


def test_calls_and_blocks_count_as_traffic_of_the_budget(make, clock, run) -> None:
    budget = RetryBudget(clock=clock)
    one = make(timeout=2, budget=budget)

    async def story() -> None:
        await one(ScriptedAsync())()
        async with one:
            pass

    run(story())

    assert budget.calls == 2


def test_no_wait_reaches_the_deadline(make, clock, run) -> None:
    work = ScriptedAsync(*[ConnectionResetError() for _ in range(9)])

    with pytest.raises(ConnectionResetError):
        run(make(timeout=2.5, retry=RETRY)(work)())
    assert (work.calls, clock.now) == (2, 1001.0)


def test_the_call_is_awaited_before_it_is_judged(make, run) -> None:
    one = make(breaker=Breaker(failures=1))
    with pytest.raises(OSError):
        run(one(ScriptedAsync(OSError()))())

    with pytest.raises(Refused):
        run(one(ScriptedAsync())())


def test_a_partial_of_a_coroutine_function_is_awaited(make, run) -> None:
    async def add(one: int, other: int) -> int:
        return one + other

    assert run(make(timeout=1)(functools.partial(add, 1))(2)) == 3


def test_a_circuit_that_opens_between_attempts_ends_them_with_the_original_error(make, run) -> None:
    work = ScriptedAsync(*[ConnectionResetError() for _ in range(9)])

    with pytest.raises(ConnectionResetError) as caught:
        run(make(timeout=60, retry=Retry(attempts=5), breaker=Breaker(failures=2))(work)())
    assert work.calls == 2
    assert "the circuit is open" in caught.value.__notes__[0]


def test_a_circuit_that_another_call_opens_during_the_pause_ends_the_attempts(make, run) -> None:
    one = make(retry=RETRY, breaker=Breaker(failures=2))
    work, original = ScriptedAsync(), ConnectionResetError()
    work.steps = [original]

    async def story() -> None:
        first = asyncio.create_task(one(work)())
        await asyncio.sleep(0.5)  # 1. the first call pauses for a second
        with pytest.raises(KeyError):
            await one(ScriptedAsync(KeyError()))()  # 2. another opens the circuit
        with pytest.raises(ConnectionResetError) as caught:
            await first  # 3. it may not go again
        assert caught.value is original
        assert "attempted once in 1.00 s; not again: the circuit is open" in original.__notes__[0]

    run(story())

    assert work.calls == 1


def test_a_late_failure_cannot_reopen_a_half_open_circuit(make, clock, run) -> None:
    one = make(breaker=Breaker(failures=1, reset_after=60))
    early_fails, trial_ends = asyncio.Event, asyncio.Event

    async def story() -> None:
        fail, end = early_fails(), trial_ends()

        @one
        async def early() -> None:
            await fail.wait()
            raise OSError

        @one
        async def trial() -> None:
            await end.wait()

        first = asyncio.create_task(early())  # 1. leaves while the circuit is closed
        await asyncio.sleep(0)
        with pytest.raises(OSError):
            await one(ScriptedAsync(OSError()))()  # 2. another opens it
        clock.now += 60
        second = asyncio.create_task(trial())  # 3. the trial leaves
        await asyncio.sleep(0)
        fail.set()
        with pytest.raises(OSError):
            await first  # 4. the first call fails, late
        end.set()
        await second  # 5. the trial succeeds

    run(story())

    assert Closed(3) == one.circuit.state


@pytest.mark.parametrize(
    ("steps", "at", "calls"),
    [
        ((10.0,), 0.0, 1),  # before anything was scheduled
        ((10.0,), 0.5, 1),  # in the first attempt
        ((ConnectionResetError(), 10.0), 0.5, 1),  # in the pause
        ((ConnectionResetError(), 10.0), 1.5, 2),  # in the second attempt
        ((ConnectionResetError(), ConnectionResetError(), 10.0), 2.5, 2),  # in the second pause
        ((ConnectionResetError(), ConnectionResetError(), 10.0), 3.5, 3),  # in the last attempt
    ],
)
def test_a_cancellation_from_outside_comes_through_and_leaves_nothing(
    make, clock, run, steps, at, calls
) -> None:
    one = make(timeout=60, retry=RETRY, breaker=Breaker(failures=9, reset_after=1))
    work = ScriptedAsync(*steps)

    async def story() -> None:
        task = asyncio.create_task(one(work)())
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert live(one) == 0
        assert time_left(clock) is None

    run(story())

    failures = sum(isinstance(step, Exception) for step in steps)
    assert (calls, min(calls, failures)) == (work.calls, one.circuit.state.failures)


def test_a_cancelled_trial_frees_its_place(make, clock, run) -> None:
    one = make(timeout=60, retry=RETRY, breaker=Breaker(failures=1, reset_after=1))

    async def story() -> None:
        with pytest.raises(OSError):
            await one(ScriptedAsync(OSError()))()
        clock.now += 1
        trial = asyncio.create_task(one(ScriptedAsync(10.0))())
        await asyncio.sleep(0)
        with pytest.raises(Refused):
            await one(ScriptedAsync())()
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        assert await one(ScriptedAsync())() == 7

    run(story())

    assert isinstance(one.circuit.state, Closed)


def test_a_cancellation_at_the_moment_of_the_deadline_is_not_lost(make, run) -> None:
    async def story() -> None:
        task = asyncio.create_task(make(timeout=2)(ScriptedAsync(60.0))())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(2, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story())


def test_a_call_that_is_closed_leaves_nothing(make, run) -> None:
    one = make(timeout=60, retry=RETRY, breaker=Breaker())

    async def story() -> None:
        coroutine = one(ScriptedAsync(10.0))()
        coroutine.send(None)
        coroutine.close()
        assert live(one) == 0

    run(story())
