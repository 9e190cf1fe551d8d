"""TXN-2, TXN-4: what became of an attempt that raised: one example a line of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.faults.category import Fault
from holdfast.faults.verdicts import (
    CROWDED,
    DUPLICATE,
    EXHAUSTED,
    LOST,
    QUERY,
    RACE,
    REFUSED,
    TIMED_OUT,
    UNKNOWN,
)
from holdfast.policy.replay import Commit
from holdfast.work.transactions_end import Seen, end_of, is_contention, passes

ROLLED_BACK, COMMITTED, IN_DOUBT = Commit.ROLLED_BACK, Commit.COMMITTED, Commit.UNKNOWN
LATE = Seen(commits=1, only_read=False, ends=(), fault=LOST)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (replace(LATE, commits=0), ROLLED_BACK),
        (replace(LATE, commits=0, ends=(COMMITTED,)), ROLLED_BACK),  # another transaction's
        (replace(LATE, ends=(COMMITTED,)), COMMITTED),
        (replace(LATE, ends=(ROLLED_BACK,)), ROLLED_BACK),
        (replace(LATE, ends=(IN_DOUBT,)), IN_DOUBT),
        (replace(LATE, ends=(IN_DOUBT,), fault=RACE), IN_DOUBT),
        (replace(LATE, commits=2, ends=(COMMITTED, COMMITTED)), COMMITTED),
        (replace(LATE, commits=2, ends=(COMMITTED, ROLLED_BACK)), IN_DOUBT),  # half of it is there
        (replace(LATE, commits=2, fault=QUERY), IN_DOUBT),
        (replace(LATE, only_read=True), ROLLED_BACK),
        (replace(LATE, fault=RACE), ROLLED_BACK),
        (replace(LATE, fault=DUPLICATE), ROLLED_BACK),
        (LATE, IN_DOUBT),
        (replace(LATE, fault=REFUSED), IN_DOUBT),
        (replace(LATE, fault=TIMED_OUT), IN_DOUBT),
        (replace(LATE, fault=UNKNOWN), IN_DOUBT),
    ],
)
def test_what_became_of_it(seen: Seen, expected: Commit) -> None:
    assert end_of(seen) is expected


@pytest.mark.parametrize(
    ("fault", "ours", "expected"),
    [
        (RACE, True, True),
        (RACE, False, True),  # raised past SQLAlchemy: nobody else says so
        (LOST, True, True),
        (LOST, False, False),  # a payment service was not reached: not ours to repeat
        (CROWDED, True, True),
        (EXHAUSTED, True, False),
        (DUPLICATE, True, False),
        (UNKNOWN, True, False),
    ],
)
def test_what_passes(fault: Fault, ours: bool, expected: bool) -> None:
    assert passes(fault, ours=ours) is expected


def test_only_races_are_contention() -> None:
    assert [is_contention(one) for one in (RACE, LOST, CROWDED, DUPLICATE)] == [True, False, False, False]
    assert not is_contention(replace(RACE, lost=True))
