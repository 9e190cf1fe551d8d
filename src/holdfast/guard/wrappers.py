"""Retry, breaker and deadline in one layer: on success nothing is made but a deadline and its entry.

Three decorators would cost half as much again, so each wrapper here is one function, longer than
others, with everything that only a failure needs out of its way (`_recover`, `Flight`).
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from holdfast.context import REQUEST
from holdfast.guard.deadline import DEADLINE, bounded
from holdfast.guard.flight import Flight, Terms
from holdfast.guard.sweep import Sweep, sweeps
from holdfast.policy.breaker import Closed

Sleep = Callable[[float], None]


def guarded_sync(terms: Terms, call: Callable[..., Any], sleep: Sleep) -> Callable[..., Any]:
    """*call*, a plain function, under *terms*; *sleep* waits between its attempts."""
    circuit, budget, timeout, monotonic = terms.circuit, terms.budget, terms.timeout, terms.clock.monotonic
    publish, published, withdraw, under_way = DEADLINE.set, DEADLINE.get, DEADLINE.reset, REQUEST.get

    def guarded(*args: Any, **kwargs: Any) -> Any:
        began = monotonic()
        deadline = began + timeout
        outer = published()
        request = under_way()
        if (outer is not None and outer < deadline) or (
            request is not None and request.deadline_at < deadline
        ):
            deadline = bounded(terms.name, deadline, began)
        sent_in = circuit.state
        if sent_in.__class__ is not Closed:
            sent_in = circuit.admit()
        budget.calls += 1
        token = publish(deadline)
        try:
            result = call(*args, **kwargs)
            if result.__class__ is CoroutineType:
                _settled(terms, result)
        except BaseException as error:  # noqa: BLE001 - it is judged, and raised again unless an attempt succeeds
            flight = Flight(terms, sent_in, began, deadline)
            return _recover(flight, error, lambda: _settled(terms, call(*args, **kwargs)), sleep)
        finally:
            withdraw(token)
        if circuit.restless:
            circuit.succeeded(sent_in, began)
        return result

    return guarded


def _settled(terms: Terms, result: Any) -> Any:
    """*result*, unless it is a promise of one, which cannot be judged yet. Raises TypeError then."""
    if isinstance(result, CoroutineType):
        result.close()
        raise TypeError(
            f"guard {terms.name!r} is round a plain function that returned a coroutine: "
            "make it `async def`, so that the guard awaits before it judges"
        )
    return result


def _recover(flight: Flight, error: BaseException, call: Callable[[], Any], sleep: Sleep) -> Any:
    try:
        while (pause := flight.pause_after(error)) is not None:
            sleep(pause)
            if not flight.again(error):
                break
            try:
                result = call()
            except BaseException as latest:  # noqa: BLE001 - judged at the head of the loop, raised below it
                error = latest
            else:
                flight.succeeded()
                return result
        raise error
    except BaseException as final:
        flight.over(final, timed_out=False)
        raise
    finally:
        del error  # or its traceback would hold this frame, which holds it


def guarded_async(terms: Terms, call: Callable[..., Any]) -> Callable[..., Any]:
    """*call*, a coroutine function, under *terms*; cancelled when its time is over."""
    circuit, budget, timeout, monotonic = terms.circuit, terms.budget, terms.timeout, terms.clock.monotonic
    publish, published, withdraw, under_way = DEADLINE.set, DEADLINE.get, DEADLINE.reset, REQUEST.get
    all_sweeps = sweeps(timeout, monotonic)
    here, find = all_sweeps.here, all_sweeps.find

    async def guarded(*args: Any, **kwargs: Any) -> Any:
        sweep = here.sweep
        task = current_task(sweep.here)
        if task is None:
            sweep, task = find()
        began = monotonic()
        deadline = began + timeout
        outer = published()
        request = under_way()
        bound = (outer is not None and outer < deadline) or (
            request is not None and request.deadline_at < deadline
        )
        if bound:
            deadline = bounded(terms.name, deadline, began)
        sent_in = circuit.state
        if sent_in.__class__ is not Closed:
            sent_in = circuit.admit()
        budget.calls += 1
        token = publish(deadline)
        key = sweep.latest = sweep.latest + 1
        sweep.live[key] = (task, deadline, task.cancelling())
        timer = sweep.alone(key, deadline - began) if bound else None
        if not sweep.armed:
            sweep.arm()
        try:
            result = await call(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is judged, and raised again unless an attempt succeeds
            flight = Flight(terms, sent_in, began, deadline)
            return await _recover_async(flight, error, lambda: call(*args, **kwargs), sweep, key)
        finally:
            if timer is not None:
                timer.cancel()
            withdraw(token)
        if key in sweep.live:
            del sweep.live[key]
        else:
            sweep.end(key, None)
        if circuit.restless:
            circuit.succeeded(sent_in, began)
        return result

    return guarded


async def _recover_async(
    flight: Flight, error: BaseException, call: Callable[[], Any], sweep: Sweep, key: int
) -> Any:
    try:
        # Once the deadline has fired nothing would bound a further attempt.
        while key in sweep.live and (pause := flight.pause_after(error)) is not None:
            await asyncio.sleep(pause)
            if not flight.again(error):
                break
            try:
                result = await call()
            except BaseException as latest:  # noqa: BLE001 - judged at the head of the loop, raised below it
                error = latest
            else:
                sweep.end(key, None)
                flight.succeeded()
                return result
        raise error
    except BaseException as final:
        late = flight.over(final, timed_out=sweep.end(key, final))
        if late is not None:
            raise late from final
        raise
    finally:
        del error  # or its traceback would hold this frame, which holds it
