"""TXN-4: what a transaction's number can tell, an example per row of the table."""

from __future__ import annotations

import pytest

from holdfast.databases.sqlalchemy_numbers import judge
from holdfast.policy.replay import Commit


@pytest.mark.parametrize(
    ("status", "same", "standby", "end"),
    [
        ("committed", True, False, Commit.COMMITTED),
        ("committed", False, False, Commit.UNKNOWN),  # of whoever was given the number again
        ("aborted", True, False, Commit.ROLLED_BACK),
        ("aborted", False, False, Commit.ROLLED_BACK),
        ("in progress", True, False, None),
        ("in progress", False, False, None),  # should it be ours after all, it may yet be committed
        (None, True, False, Commit.UNKNOWN),
        (None, False, False, Commit.UNKNOWN),
        ("in the future", True, False, Commit.UNKNOWN),
        ("in the future", False, False, Commit.ROLLED_BACK),
        ("in the future", False, True, Commit.UNKNOWN),  # it lags behind
    ],
)
def test_what_the_number_tells(status: str | None, same: bool, standby: bool, end: Commit | None) -> None:
    assert judge(status, same=same, standby=standby) is end
