"""What the policies pass round cannot be changed underway, and is small."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest

from holdfast.policy import backoff, breaker, budget, replay, retry

VALUES = sorted(
    {
        one
        for room in (backoff, breaker, budget, replay, retry)
        for one in vars(room).values()
        if is_dataclass(one)
    },
    key=lambda one: one.__name__,
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_a_value_is_frozen_and_slotted(value) -> None:
    assert value.__dataclass_params__.frozen
    assert {field.name for field in fields(value)} <= set(value.__slots__)
