"""Whatever is killed or cut when, no acknowledged order is lost and none is there twice."""

from __future__ import annotations

import os

import pytest
import schedule
from loop import PLOTS, play
from stage import Plot

SEED = int(os.environ.get("CRASH_SEED", "1"))
ROUNDS = 5
LOAD = (1.0, 2.0)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
async def test_no_order_is_lost_or_doubled_by_crashes(plot: Plot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Properties 16 and 17, TXN-4, REQ-5, JRN-3; `make crash` plays as many rounds as you like.

    Without silences: one that falls into the application's own startup loses nothing, but may keep
    it from being well again for longer than a test waits.
    """
    monkeypatch.setitem(schedule._WEIGHTS, schedule.Kind.SILENCE, 0)
    run = await play(plot, SEED, range(1, ROUNDS + 1), LOAD)

    assert not run.failed, "\n".join(one.report() for one in run.failed)
    assert run.rounds == ROUNDS
