"""Deadlines that cancel: one timer a loop and length, and whose cancellation it was (POL-5)."""

from __future__ import annotations

import asyncio
import threading

import pytest
from guard_scripts import RETRY, ScriptedAsync, live

from holdfast.context import REQUEST, Request
from holdfast.guard import Refused, deadline_in, time_left
from holdfast.guard.sweep import sweeps
from holdfast.policy.breaker import Breaker


def test_a_call_that_takes_too_long_is_cancelled_and_named(make, clock, run) -> None:
    one = make(timeout=2, retry=RETRY)

    async def story() -> None:
        with pytest.raises(TimeoutError, match=r"no answer within 2\.00 s \(attempt 1 of 3\)"):
            await one(ScriptedAsync(60.0))()
        assert asyncio.current_task().cancelling() == 0
        assert live(one) == 0

    run(story())

    assert clock.now == 1002.0


def test_the_deadline_covers_all_attempts(make, clock, run) -> None:
    work = ScriptedAsync(ConnectionResetError(), 60.0)

    with pytest.raises(TimeoutError, match="attempt 2 of 3"):
        run(make(timeout=2, retry=RETRY)(work)())
    assert clock.now == 1002.0


def test_a_call_that_ran_out_of_time_counts_as_a_failure(make, run) -> None:
    one = make(timeout=2, breaker=Breaker(failures=1))

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await one(ScriptedAsync(60.0))()
        with pytest.raises(Refused):
            await one(ScriptedAsync())()

    run(story())


def test_calls_begun_at_different_moments_end_each_at_its_own(make, clock, run) -> None:
    ended = []

    async def call(number: int) -> None:
        await asyncio.sleep(number * 0.4)
        try:
            await make(timeout=2)(ScriptedAsync(60.0))()
        except TimeoutError:
            ended.append((number, round(clock.now - 1000, 6)))

    async def story() -> None:
        await asyncio.gather(*(call(number) for number in range(4)))

    run(story())

    assert ended == [(0, 2.0), (1, 2.4), (2, 2.8), (3, 3.2)]


def test_one_timer_serves_all_calls_of_one_length(make, run) -> None:
    one = make(timeout=2)

    async def story() -> None:
        loop, set_timers = asyncio.get_running_loop(), []
        real = loop.call_later
        loop.call_later = lambda *args, **kwargs: (set_timers.append(args[0]), real(*args, **kwargs))[1]
        await asyncio.gather(*(one(ScriptedAsync())() for _ in range(50)))
        assert set_timers == [2]

    run(story())


def test_a_nearer_deadline_outside_cancels_and_is_named_by_both(make, clock, run) -> None:
    inner = make("inner", timeout=60)(ScriptedAsync(60.0))

    with pytest.raises(TimeoutError, match="'outer'"):
        run(make("outer", timeout=2)(inner)())
    assert clock.now == 1002.0


def test_a_nearer_deadline_inside_leaves_the_outer_call_its_time(make, clock, run) -> None:
    inner = make("inner", timeout=1)(ScriptedAsync(60.0))

    async def work() -> str:
        with pytest.raises(TimeoutError, match="'inner'"):
            await inner()
        await asyncio.sleep(0.5)
        return "still here"

    assert run(make("outer", timeout=2)(work)()) == "still here"
    assert clock.now == 1001.5


@pytest.mark.parametrize("timeout", [None, 60])
def test_the_deadline_of_the_request_under_way_binds(make, clock, run, timeout) -> None:
    async def story() -> None:
        REQUEST.set(Request("r1", "GET", "/", arrived_at=1000.0, deadline_at=1001.5))
        with pytest.raises(TimeoutError, match=r"within 1\.50 s"):
            await make(timeout=timeout)(ScriptedAsync(60.0))()

    run(story())

    assert clock.now == 1001.5


def test_a_block_of_deadline_in_binds_the_calls_in_it(make, clock, run) -> None:
    async def story() -> None:
        with deadline_in(0.5, clock), pytest.raises(TimeoutError):
            await make(timeout=2)(ScriptedAsync(60.0))()
        assert time_left(clock) is None

    run(story())

    assert clock.now == 1000.5


def test_an_answer_that_comes_although_the_deadline_fired_is_kept(make, run) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "saved"

    async def story() -> None:
        assert await make(timeout=2)(stubborn)() == "saved"
        assert asyncio.current_task().cancelling() == 0

    run(story())


def test_an_error_that_the_deadline_provoked_is_not_attempted_again(make, run) -> None:
    calls = []

    async def converts() -> None:
        calls.append(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionResetError from None

    async def story() -> None:
        with pytest.raises(ConnectionResetError):
            await make(timeout=2, retry=RETRY)(converts)()
        assert asyncio.current_task().cancelling() == 0

    run(story())

    assert len(calls) == 1


def test_the_deadline_works_in_a_task_that_was_cancelled_before(make, run) -> None:
    seen = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            try:
                await make(timeout=2)(ScriptedAsync(60.0))()
            except TimeoutError:
                seen.append("named")

    async def story() -> None:
        task = asyncio.create_task(cleans_up())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(story())

    assert seen == ["named"]


def test_the_next_loop_has_its_own_timers(make, clock, run) -> None:
    one = make(timeout=2)(ScriptedAsync(0, 60.0, 60.0))
    run(one())
    for _ in range(2):
        with pytest.raises(TimeoutError):
            run(one())

    assert clock.now == 1004.0


def test_outside_a_task_a_call_says_what_it_needs(make, run) -> None:
    async def story() -> None:
        failed = asyncio.get_running_loop().create_future()

        def step() -> None:
            try:
                make(timeout=2)(ScriptedAsync())().send(None)
            except RuntimeError as error:
                failed.set_result(str(error))

        asyncio.get_running_loop().call_soon(step)
        assert "await it inside one" in await failed

    run(story())


def test_a_loop_that_moves_to_another_thread_takes_its_deadlines_along(make, clock, new_loop) -> None:
    one, loop = make(timeout=2), new_loop()
    here = sweeps(2, clock.monotonic).here
    loop.run_until_complete(one(ScriptedAsync())())  # 1. in this thread
    assert here.sweep.here is loop
    thread = threading.Thread(target=loop.run_until_complete, args=(one(ScriptedAsync())(),))
    thread.start()  # 2. in another
    thread.join(10)
    assert here.sweep.here is not loop
    with pytest.raises(TimeoutError):
        loop.run_until_complete(one(ScriptedAsync(60.0))())  # 3. back again
    assert here.sweep.here is loop
    loop.close()


def test_the_timer_is_set_again_after_it_has_run_out(make, clock, run) -> None:
    one = make(timeout=2)(ScriptedAsync(60.0, 0, 60.0))

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await one()
        await asyncio.sleep(10)
        await one()
        with pytest.raises(TimeoutError):
            await one()

    run(story())

    assert clock.now == 1014.0


def test_a_call_with_a_timer_of_its_own_takes_it_along(make, clock, run) -> None:
    one = make(timeout=60)

    async def story() -> None:
        with deadline_in(5, clock):
            await one(ScriptedAsync())()
            async with one:
                pass
        timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]
        assert [timer.when() for timer in timers if timer.when() < 1060] == []

    run(story())
