"""DB-5, DB-6, DB-12: one example for each transition of a database's state, and none for the rest."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.databases.monitor import (
    NAMES,
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

NOW = 50.0
CONNECTED = Connected(7, since=10.0)
SILENT = Suspect(7, since=10.0, cause="no answer", broken=False)
BROKEN = Suspect(7, since=10.0, cause="reset", broken=True)
AWAY = Disconnected(7, since=10.0, cause="refused", attempts=3)
AWAY_IN_SILENCE = Disconnected(7, since=10.0, cause="no answer", attempts=3, silent=True)
RECOVERING = Recovering(7, since=10.0, lost_at=4.0, attempts=3)

LOST = Broken("gone")
FAILED = Failed(7, "refused")
MET_SILENCE = Failed(7, "no answer", silent=True)
ANSWERED = Answered(7)


@pytest.mark.parametrize("state", [CONNECTED, RECOVERING])
def test_silence_makes_suspect_and_asks_for_a_byte(state: State) -> None:
    assert step(state, Quiet(), NOW) == (Suspect(8, NOW, "no answer", broken=False), (Effect.KNOCK,))


@pytest.mark.parametrize("state", [CONNECTED, RECOVERING])
def test_a_lost_connection_makes_suspect_and_asks_for_a_login(state: State) -> None:
    assert step(state, LOST, NOW) == (Suspect(8, NOW, "gone", broken=True), (Effect.PROBE,))


@pytest.mark.parametrize("state", [CONNECTED, RECOVERING])
def test_a_heartbeat_that_failed_makes_suspect(state: State) -> None:
    assert step(state, FAILED, NOW) == (Suspect(8, NOW, "refused", broken=True), (Effect.PROBE,))


def test_a_query_that_completed_after_all_ends_a_suspicion_of_silence() -> None:
    assert step(SILENT, Heard(), NOW) == (Connected(8, NOW), (Effect.SETTLE,))


@pytest.mark.parametrize("state", [SILENT, BROKEN])
def test_an_answer_ends_any_suspicion(state: State) -> None:
    assert step(state, ANSWERED, NOW) == (Connected(8, NOW), (Effect.SETTLE,))


def test_a_lost_connection_makes_silence_worse_and_keeps_its_beginning() -> None:
    """Round and probe are new: the knock into silence no longer decides."""
    assert step(SILENT, LOST, NOW) == (Suspect(8, 10.0, "gone", broken=True), (Effect.PROBE,))


def test_a_query_that_completed_proves_nothing_once_a_connection_was_lost() -> None:
    assert step(BROKEN, Heard(), NOW) == (BROKEN, ())


@pytest.mark.parametrize("state", [SILENT, BROKEN])
def test_a_refused_probe_means_away_since_the_first_doubt(state: State) -> None:
    expected = Disconnected(8, 10.0, "refused", attempts=1, silent=False)

    assert step(state, FAILED, NOW) == (expected, (Effect.CUT, Effect.PROBE))


@pytest.mark.parametrize(("state", "silent"), [(SILENT, True), (BROKEN, False)])
def test_silence_all_along_is_remembered_as_such(state: State, silent: bool) -> None:
    expected = Disconnected(8, 10.0, "no answer", attempts=1, silent=silent)

    assert step(state, MET_SILENCE, NOW) == (expected, (Effect.CUT, Effect.PROBE))


def test_an_answer_ends_the_outage_and_everything_pooled_is_of_the_past() -> None:
    """DB-6: the instant it succeeds the pool is refreshed and the waiting go."""
    expected = Recovering(8, NOW, lost_at=10.0, attempts=3)

    assert step(AWAY, ANSWERED, NOW) == (expected, (Effect.REFRESH, Effect.SETTLE))


@pytest.mark.parametrize(
    ("state", "happening", "silent"),
    [
        (AWAY, FAILED, False),
        (AWAY, MET_SILENCE, False),
        (AWAY_IN_SILENCE, MET_SILENCE, True),
        (AWAY_IN_SILENCE, FAILED, False),
    ],
)
def test_another_failed_probe_is_counted_and_followed_by_another(
    state: Disconnected, happening: Failed, silent: bool
) -> None:
    """DB-6: never gives up. The round stays, for the prober is still the same."""
    expected = Disconnected(7, 10.0, happening.cause, attempts=4, silent=silent)

    assert step(state, happening, NOW) == (expected, (Effect.PROBE,))


def test_when_nobody_waits_any_more_it_has_recovered() -> None:
    assert step(RECOVERING, Drained(), NOW) == (Connected(8, NOW), ())


NOTHING_ELSE = [
    (CONNECTED, Heard()),
    (CONNECTED, ANSWERED),
    (CONNECTED, Drained()),
    (SILENT, Quiet()),
    (SILENT, Drained()),
    (BROKEN, Quiet()),
    (BROKEN, LOST),
    (BROKEN, Drained()),
    (AWAY, Quiet()),
    (AWAY, LOST),
    (AWAY, Heard()),
    (AWAY, Drained()),
    (RECOVERING, Heard()),
    (RECOVERING, ANSWERED),
]


@pytest.mark.parametrize(("state", "happening"), NOTHING_ELSE, ids=repr)
def test_anything_else_leaves_the_state_as_it_is(state: State, happening: Happening) -> None:
    after, effects = step(state, happening, NOW)

    assert after is state
    assert effects == ()


EVERY_STATE = [CONNECTED, SILENT, BROKEN, AWAY, AWAY_IN_SILENCE, RECOVERING]


@pytest.mark.parametrize("distance", [-1, 1])
@pytest.mark.parametrize(("state", "verdict"), list(product(EVERY_STATE, [Answered, Failed])))
def test_the_verdict_of_another_round_changes_nothing(
    state: State, verdict: type[Answered | Failed], distance: int
) -> None:
    late = Answered(7 + distance) if verdict is Answered else Failed(7 + distance, "late")

    assert step(state, late, NOW) == (state, ())


def test_a_probe_of_before_the_outage_cannot_end_it() -> None:
    """The knock of the suspicion is answered after the login failed: it was sent in an earlier round."""
    suspect, _ = step(CONNECTED, LOST, NOW)
    away, _ = step(suspect, Failed(suspect.round, "refused"), NOW + 1)

    assert step(away, Answered(suspect.round), NOW + 2) == (away, ())


def test_each_state_has_a_public_name() -> None:
    assert {
        Connected: "connected",
        Suspect: "suspect",
        Disconnected: "disconnected",
        Recovering: "recovering",
    } == NAMES


@pytest.mark.parametrize(
    ("attempt", "away_for", "silent", "expected"),
    [
        (1, 0.0, False, 0.025),
        (100, 60.0, False, 0.025),  # up to and with its patience
        (1, 60.5, False, 0.025 * 2**0.5),  # no step where patience ends
        (1, 62.0, False, 0.05),
        (2, 62.0, False, 0.1),
        (100, 63.0, False, 0.2),
        (100, 3600.0, False, 1.0),
        (1, 0.0, True, 0.25),
        (100, 61.0, True, 0.5),
        (100, 3600.0, True, 1.0),
    ],
)
def test_probes_are_quick_at_first_and_never_rarer_than_one_a_second(
    attempt: int, away_for: float, silent: bool, expected: float
) -> None:
    """DB-6: with the dice in the middle; seconds."""
    assert probe_delay(attempt, away_for, 60.0, silent=silent, dice=0.5) == pytest.approx(expected)


@pytest.mark.parametrize(("dice", "expected"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_probes_of_many_processes_are_spread(dice: float, expected: float) -> None:
    delay = probe_delay(100, 3600.0, 60.0, silent=False, dice=dice)

    assert delay == pytest.approx(expected, abs=1e-5)


def test_an_outage_of_hours_is_still_probed() -> None:
    """DB-6: never gives up. The doubling overflowed after 1,024 probes and as many seconds."""
    assert probe_delay(1024, 1024.0 + 60.0, 60.0, silent=False, dice=0.5) == 1.0
