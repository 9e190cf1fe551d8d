"""Deadlines inside plain functions: readable, and only ever nearer (POL-5)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from guard_scripts import Scripted

from holdfast.context import REQUEST, Request
from holdfast.guard import deadline_at, deadline_in, time_left


def test_the_deadline_is_readable_inside_and_gone_outside(make, clock) -> None:
    seen = []
    make(timeout=2)(lambda: seen.append(time_left(clock)))()

    assert seen == [2.0]
    assert time_left(clock) is None


def test_a_nearer_deadline_outside_binds(make, clock) -> None:
    seen = []
    inner = make(timeout=60)(lambda: seen.append(time_left(clock)))
    make(timeout=2)(inner)()
    with deadline_in(3, clock) as moment:
        assert moment == 1003.0
        inner()

    assert seen == [2.0, 3.0]


def test_an_inner_deadline_may_be_nearer(make, clock) -> None:
    seen = []
    inner = make(timeout=1)(lambda: seen.append(time_left(clock)))
    make(timeout=2)(lambda: (inner(), seen.append(time_left(clock))))()

    assert seen == [1.0, 2.0]


def test_the_deadline_of_the_request_under_way_binds(make, clock) -> None:
    seen = []
    token = REQUEST.set(Request("r1", "GET", "/", arrived_at=999.0, deadline_at=1001.5))
    try:
        make(timeout=60)(lambda: seen.append(time_left(clock)))()
        make()(lambda: seen.append(deadline_at()))()
    finally:
        REQUEST.reset(token)

    assert seen == [1.5, 1001.5]


def test_nothing_is_called_once_the_deadline_round_it_has_passed(make, clock) -> None:
    work = Scripted()
    with deadline_in(1, clock):
        clock.now += 1
        with pytest.raises(TimeoutError):
            make(timeout=2)(work)()
        clock.now += 0.5
        with pytest.raises(TimeoutError, match=r"passed 0\.50 s ago"):
            make(timeout=2)(work)()
        assert time_left(clock) == 0.0

    assert work.calls == 0


def test_a_frozen_exception_passes_a_block_unharmed(clock) -> None:
    @dataclass(frozen=True)
    class Refused(Exception):
        order: int

    with pytest.raises(Refused), deadline_in(1, clock):
        raise Refused(7)
