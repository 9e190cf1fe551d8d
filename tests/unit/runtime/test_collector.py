"""The collector is told what a server knows (PRF-2)."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from holdfast.runtime.collector import OURS, spare_the_collector


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_startup_made_is_not_looked_at_again() -> None:
    spare_the_collector()

    assert gc.get_freeze_count() > 0


def test_collections_are_rarer_where_nobody_chose() -> None:
    gc.set_threshold(700, 10, 10)
    spare_the_collector()

    assert gc.get_threshold() == (OURS, 10, 10)


def test_thresholds_that_the_application_chose_are_kept() -> None:
    gc.set_threshold(1234, 5, 6)
    spare_the_collector()

    assert gc.get_threshold() == (1234, 5, 6)
