"""The line before a door, whatever comes in whatever order (REQ-3, DB-6, properties 19 and 20)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.asgi.line import APART_AFTER, EVERY, Line, Waiter

LOOP: Any = SimpleNamespace(create_future=object, call_later=lambda *_: None)
STEPS = st.lists(st.sampled_from(["comes", "comes before", "goes", "moves", "stops", "leaves", "later"]))


@given(STEPS)
def test_each_group_goes_in_its_order_and_those_in_line_have_two_turns_of_three(steps: list[str]) -> None:
    now, number = 100.0, 0
    line = Line(SimpleNamespace())  # type: ignore[arg-type]
    standing: list[Waiter] = []
    in_a_row = 0
    for step in steps:
        match step:
            case "comes" | "comes before":
                number += 1
                at = now + number / 1e6 - (3.0 if step == "comes before" else 0.0)
                waiter = Waiter(LOOP, 1.0, at, lambda _: None, postponable=number % 4 == 0)
                line.join(waiter)
                standing.append(waiter)
            case "goes" if standing:
                late = list(line._apart)
                first = min(line._waiters, key=lambda one: one.arrived_at, default=None)
                waiter = line.next()
                standing.remove(waiter)
                assert waiter is (late[0] if waiter in late else first)
                in_a_row = in_a_row + 1 if waiter in late and first is not None else 0
                assert in_a_row <= 1 < EVERY
            case "leaves" if standing:
                line.leave(standing.pop(len(standing) // 2))
            case "moves":
                line.moves(now)
            case "stops":
                line.stops()
            case "later":
                now += APART_AFTER / 2
        assert len(line) == len(standing)
        assert {*line} == {*standing}
        assert not any(one.postponable for one in line._apart)
