"""guard as a `with` and `async with` block (POL-7)."""

from __future__ import annotations

import asyncio

import pytest
from guard_scripts import RETRY, live

from holdfast.guard import Refused, time_left
from holdfast.policy.breaker import Breaker, Closed, HalfOpen


def test_a_block_has_breaker_and_deadline(make, clock) -> None:
    one = make(timeout=2, breaker=Breaker(failures=1), retry=RETRY)
    with one:
        assert time_left(clock) == 2.0
    with pytest.raises(ConnectionResetError), one:
        raise ConnectionResetError

    with pytest.raises(Refused), one:
        raise AssertionError("not reached")
    assert time_left(clock) is None


def test_a_block_may_stand_in_itself(make, clock) -> None:
    one = make(timeout=2, breaker=Breaker(failures=1, reset_after=5))
    with pytest.raises(OSError), one:
        raise OSError
    clock.now += 5
    with one:
        assert isinstance(one.circuit.state, HalfOpen)
        with pytest.raises(Refused), one:
            raise AssertionError("not reached")
        with make("other", timeout=1):
            assert time_left(clock) == 1.0
        assert time_left(clock) == 2.0

    assert isinstance(one.circuit.state, Closed)


def test_a_block_that_ends_where_it_did_not_begin_says_so(make) -> None:
    with pytest.raises(RuntimeError, match="another context"):
        make().__exit__(None, None, None)


def test_an_async_block_is_cancelled_at_its_deadline(make, clock, run) -> None:
    one = make(timeout=2, breaker=Breaker(failures=1))

    async def block() -> None:
        async with one:
            assert time_left(clock) == 2.0
            await asyncio.sleep(60)

    async def story() -> None:
        with pytest.raises(TimeoutError, match="'payments'"):
            await block()
        assert asyncio.current_task().cancelling() == 0
        with pytest.raises(Refused):
            await block()
        assert live(one) == 0

    run(story())

    assert clock.now == 1002.0


def test_a_block_without_a_timeout_has_no_timer(make, run) -> None:
    async def story() -> str:
        async with make(breaker=Breaker()):
            await asyncio.sleep(100)
        return "done"

    assert run(story()) == "done"


def test_blocks_of_one_guard_run_side_by_side(make, clock, run) -> None:
    one = make(timeout=2)
    ended = []

    async def block(number: int) -> None:
        try:
            async with one:
                await asyncio.sleep(number)
        except TimeoutError:
            ended.append((number, "late"))
        else:
            ended.append((number, "in time"))

    async def story() -> None:
        await asyncio.gather(*(block(number) for number in (3, 1, 4)))

    run(story())

    assert ended == [(1, "in time"), (3, "late"), (4, "late")]


def test_a_cancellation_from_outside_comes_through_a_block(make, run) -> None:
    one = make(timeout=60, breaker=Breaker(failures=1))

    async def block() -> None:
        async with one:
            await asyncio.sleep(10)

    async def story() -> None:
        task = asyncio.create_task(block())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert live(one) == 0

    run(story())

    assert Closed() == one.circuit.state
