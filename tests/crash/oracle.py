"""The oracle: what was answered, against what is in the table. Pure.

any answer 200, 201              there exactly once
any answer 202                   there exactly once, its operation done
503 applied_but_interrupted      there exactly once
last answer 4xx (not in progress), nothing of the above      not there
everything else                  there at most once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from orders import INTERRUPTED, Answer, Order


class Due(Enum):
    """How often an order may stand in the table, for what its client was told."""

    ONCE = "once"
    NEVER = "never"
    AT_MOST_ONCE = "at most once"

    def holds(self, count: int) -> bool:
        """Whether *count* rows are right."""
        match self:
            case Due.ONCE:
                return count == 1
            case Due.NEVER:
                return count == 0
            case Due.AT_MOST_ONCE:
                return count <= 1


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    claim: str
    order: Order | None = None


def due(order: Order) -> Due:
    """What the answers to *order* promise."""
    if any(_binding(answer) for answer in order.answers):
        return Due.ONCE
    if order.lasts and all(400 <= one.status < 500 and not one.passing for one in order.lasts):
        return Due.NEVER
    return Due.AT_MOST_ONCE


def judge(orders: Iterable[Order], counts: Mapping[str, int]) -> list[Violation]:
    """Everything that is wrong with *orders*, *counts* being the rows of each reference."""
    return [violation for order in orders for violation in _judge(order, counts.get(order.reference, 0))]


def _judge(order: Order, count: int) -> Iterator[Violation]:
    wanted = due(order)
    if not wanted.holds(count):
        yield Violation(f"there {count} times, and must be there {wanted.value}", order)
    if any(answer.status == 202 for answer in order.answers) and not (order.operation or "").startswith(
        "done"
    ):
        yield Violation(f"accepted with 202, and its operation is {order.operation}", order)
    for answer in order.answers:
        if answer.status not in _EXPECTED and not answer.passing:
            yield Violation(f"answered {answer.kind}, though nothing is wrong with it", order)
    for first, replay in _replays(order):
        if first.body != replay.body:
            yield Violation("replayed with another body than the first answer's", order)


_EXPECTED = (200, 201, 202)


def _binding(answer: Answer) -> bool:
    return answer.status in (200, 201, 202) or answer.code == INTERRUPTED


def _replays(order: Order) -> Iterator[tuple[Answer, Answer]]:
    """Each replayed answer with the first answer of its status, when that was seen."""
    in_order = sorted(order.answers, key=lambda one: one.done_at)
    for place, answer in enumerate(in_order):
        first = next((one for one in in_order[:place] if one.status == answer.status), None)
        if answer.replayed and first is not None:
            yield first, answer
