"""DB-5, DB-6: the monitor under random schedules never starves and is never misled by the late."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.databases.monitor import (
    Answered,
    Broken,
    Connected,
    Disconnected,
    Drained,
    Effect,
    Failed,
    Happening,
    Heard,
    Quiet,
    Recovering,
    State,
    Suspect,
    probe_delay,
    step,
)

pytestmark = pytest.mark.slow


class MonitorSchedule(RuleBasedStateMachine):
    """Hooks report, probes leave and come back in any order, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.state: State = Connected(0, self.now)
        self.asked: list[int] = []  # the rounds in which a knock or probe was sent
        self.asking = False  # the present suspicion or outage has one under way

    def happen(self, happening: Happening) -> None:
        before = self.state
        after, effects = step(before, happening, self.now)
        assert after.round in (before.round, before.round + 1)
        if type(after) is not type(before):
            assert after.round == before.round + 1
        self.check_effects(before, after, effects)
        self.check_ends_of_outages(before, after, happening)
        self.state = after
        if {Effect.KNOCK, Effect.PROBE} & set(effects):
            self.asked.append(after.round)
            self.asking = True

    def check_effects(self, before: State, after: State, effects: tuple[Effect, ...]) -> None:
        enters = isinstance(after, Disconnected) and not isinstance(before, Disconnected)
        assert (Effect.CUT in effects) == enters
        leaves = isinstance(before, Disconnected) and not isinstance(after, Disconnected)
        assert (Effect.REFRESH in effects) == leaves
        calm = isinstance(after, Connected | Recovering) and isinstance(before, Suspect | Disconnected)
        assert (Effect.SETTLE in effects) == calm

    def check_ends_of_outages(self, before: State, after: State, happening: Happening) -> None:
        if isinstance(before, Disconnected):
            assert isinstance(after, Disconnected | Recovering)
            if isinstance(after, Recovering):
                assert happening == Answered(before.round)
                assert (after.lost_at, after.attempts) == (before.since, before.attempts)

    @rule(seconds=st.sampled_from([0.01, 1.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(what=st.sampled_from([Quiet(), Heard(), Drained(), Broken("reset"), Broken("refused")]))
    def hooks_report(self, what: Happening) -> None:
        self.happen(what)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), answered=st.booleans(), silent=st.booleans())
    def a_verdict_comes(self, data: st.DataObject, answered: bool, silent: bool) -> None:
        """Of any probe ever sent, however late; one may be told twice."""
        sent_in = data.draw(st.sampled_from(self.asked))
        before = self.state
        self.happen(Answered(sent_in) if answered else Failed(sent_in, "no", silent))
        if sent_in != before.round:
            assert self.state is before

    @precondition(lambda self: isinstance(self.state, Disconnected))
    @rule()
    def the_prober_is_let_in(self) -> None:
        self.happen(Answered(self.state.round))

        assert isinstance(self.state, Recovering)

    @precondition(lambda self: not isinstance(self.state, Disconnected))
    @rule()
    def a_heartbeat_fails(self) -> None:
        self.happen(Failed(self.state.round, "no answer"))

        assert isinstance(self.state, Suspect | Disconnected)

    @invariant()
    def whoever_doubts_has_asked(self) -> None:
        """A suspicion or an outage in whose round nothing was asked would never end."""
        if isinstance(self.state, Suspect | Disconnected):
            assert self.state.round in self.asked

    @invariant()
    def an_answer_always_ends_it(self) -> None:
        """Never starves: the answer of the present round leads to where requests go."""
        after, _ = step(self.state, Answered(self.state.round), self.now)

        assert isinstance(after, Connected | Recovering)

    @invariant()
    def moments_are_of_the_past(self) -> None:
        assert self.state.since <= self.now
        if isinstance(self.state, Recovering):
            assert self.state.lost_at <= self.state.since
        if isinstance(self.state, Recovering | Disconnected):
            assert self.state.attempts >= 1


TestMonitorSchedule = MonitorSchedule.TestCase
TestMonitorSchedule.settings = settings(max_examples=500, stateful_step_count=30, deadline=None)


DELAYS = {
    "attempt": st.integers(1, 10**6),
    "away_for": st.floats(0, 1e9),
    "patience": st.floats(0, 1e6),
    "silent": st.booleans(),
    "dice": st.floats(0, 1, exclude_max=True),
}


@given(**DELAYS)
def test_a_probe_is_never_more_than_a_jittered_second_away(
    attempt: int, away_for: float, patience: float, silent: bool, dice: float
) -> None:
    delay = probe_delay(attempt, away_for, patience, silent=silent, dice=dice)
    least = 0.25 if silent else 0.025

    assert 0.8 * least <= delay <= 1.2


@given(**DELAYS, later=st.floats(0, 1e6))
def test_a_longer_outage_is_never_probed_more_often(
    attempt: int, away_for: float, patience: float, silent: bool, dice: float, later: float
) -> None:
    first = probe_delay(attempt, away_for, patience, silent=silent, dice=dice)
    second = probe_delay(attempt + 1, away_for + later, patience, silent=silent, dice=dice)

    assert second >= first
