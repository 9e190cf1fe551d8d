"""The oracle finds what it is there to find: each broken promise alone, and nothing in a right round."""

from __future__ import annotations

import pytest
from oracle import Due, due, judge
from orders import IN_PROGRESS, INTERRUPTED, Answer, Order

MADE = Answer(0.0, 0.1, 201, body=b"{}")
ACCEPTED = Answer(0.0, 0.1, 202, location="/operations/one")
SILENT = Answer(0.0, 0.1)
AWAY = Answer(0.0, 0.1, 503, "database_unavailable")
UNKNOWN = Answer(0.0, 0.1, 503, "commit_outcome_unknown")
APPLIED = Answer(0.0, 0.1, 503, INTERRUPTED)
BUSY = Answer(0.0, 0.1, 409, IN_PROGRESS)
REFUSED = Answer(0.0, 0.1, 409)
BROKEN = Answer(0.0, 0.1, 500)


def order(*answers: Answer, operation: str | None = None) -> Order:
    return Order("one", "key-one", "once", list(answers), list(answers[-1:]), operation)


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ((MADE,), Due.ONCE),
        ((ACCEPTED,), Due.ONCE),
        ((APPLIED,), Due.ONCE),
        ((APPLIED, SILENT), Due.ONCE),
        ((SILENT, AWAY, MADE), Due.ONCE),
        ((MADE, REFUSED), Due.ONCE),
        ((REFUSED,), Due.NEVER),
        ((UNKNOWN, REFUSED), Due.NEVER),
        ((BUSY,), Due.AT_MOST_ONCE),
        ((SILENT,), Due.AT_MOST_ONCE),
        ((UNKNOWN,), Due.AT_MOST_ONCE),
        ((AWAY,), Due.AT_MOST_ONCE),
        ((BROKEN,), Due.AT_MOST_ONCE),
    ],
)
def test_what_was_answered_says_what_must_be_there(answers: tuple[Answer, ...], wanted: Due) -> None:
    """JRN-3, TXN-4: an acknowledgement binds, a refusal binds, a doubt allows either."""
    assert due(order(*answers)) is wanted


@pytest.mark.parametrize(("due", "counts"), [(Due.ONCE, {1}), (Due.NEVER, {0}), (Due.AT_MOST_ONCE, {0, 1})])
def test_each_promise_allows_exactly_its_counts(due: Due, counts: set[int]) -> None:
    assert {count for count in range(4) if due.holds(count)} == counts


@pytest.mark.parametrize(
    ("wrong", "count", "claim"),
    [
        (order(MADE), 0, "must be there once"),
        (order(MADE), 2, "must be there once"),
        (order(REFUSED), 0, "though nothing is wrong with it"),
        (order(BROKEN), 1, "though nothing is wrong with it"),
        (order(SILENT), 2, "must be there at most once"),
        (order(ACCEPTED, operation="pending"), 1, "its operation is pending"),
        (order(ACCEPTED, operation="dead"), 1, "its operation is dead"),
        (order(MADE, Answer(0.2, 0.3, 201, replayed=True, body=b"[]")), 1, "another body"),
    ],
)
def test_a_broken_promise_is_found(wrong: Order, count: int, claim: str) -> None:
    """Properties 16 and 17: lost, doubled, applied though refused, and answers that change."""
    (violation,) = judge([wrong], {"one": count})

    assert claim in violation.claim


def test_a_refused_order_that_is_there_breaks_two_promises() -> None:
    claims = [one.claim for one in judge([order(REFUSED)], {"one": 1})]

    assert any("must be there never" in claim for claim in claims)
    assert len(claims) == 2


@pytest.mark.parametrize(
    ("right", "count"),
    [
        (order(MADE), 1),
        (order(MADE, Answer(0.2, 0.3, 201, replayed=True, body=b"{}")), 1),
        (order(ACCEPTED, operation="done 201"), 1),
        (order(ACCEPTED, Answer(0.2, 0.3, 201, replayed=True, body=b"{}"), operation="done 201"), 1),
        (order(SILENT, UNKNOWN), 1),
        (order(SILENT, UNKNOWN), 0),
    ],
)
def test_a_kept_promise_is_not_held_against_it(right: Order, count: int) -> None:
    assert judge([right], {"one": count}) == []
