"""What holdfast believes of one database, as states and one pure step.

    state          event              next state     effects
    connected      quiet              suspect        knock
    connected      broken, failed     suspect        probe
    suspect        heard (if quiet)   connected      settle
    suspect        answered           connected      settle
    suspect        broken (if quiet)  suspect        probe
    suspect        failed             disconnected   cut, probe
    disconnected   answered           recovering     refresh, settle
    disconnected   failed             disconnected   probe
    recovering     drained            connected
    recovering     quiet              suspect        knock
    recovering     broken, failed     suspect        probe

Anything else leaves the state as it is. `answered` and `failed` carry the round in which their
probe was sent: the verdict of an earlier round is late and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import assert_never


class Effect(Enum):
    """What the shell has to do after a step."""

    KNOCK = auto()  # ask for a single byte of the server on a fresh connection
    PROBE = auto()  # open a fresh connection, log in, ask
    CUT = auto()  # shut down the sockets in use, so that whoever waits on them returns
    REFRESH = auto()  # every pooled connection is of the past
    SETTLE = auto()  # let those who waited for the verdict go


@dataclass(frozen=True, slots=True)
class Connected:
    """It answers."""

    round: int
    since: float


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something is odd: a lost connection (`broken`), or only silence."""

    round: int
    since: float
    cause: str
    broken: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """It is away since; so many probes have failed. `silent`: it never refused, it only fell silent."""

    round: int
    since: float
    cause: str
    attempts: int
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Recovering:
    """It is back, and those who waited are being served."""

    round: int
    since: float
    lost_at: float
    attempts: int


State = Connected | Suspect | Disconnected | Recovering

NAMES: dict[type[State], str] = {
    Connected: "connected",
    Suspect: "suspect",
    Disconnected: "disconnected",
    Recovering: "recovering",
}


@dataclass(frozen=True, slots=True)
class Quiet:
    """A query is outstanding for too long and nothing has completed since it was sent."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A connection was lost or refused."""

    cause: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A query completed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The knock or probe of that round was answered."""

    round: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The knock or probe of that round was refused, or met silence."""

    round: int
    cause: str
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Drained:
    """Nobody waits any more."""


@dataclass(frozen=True, slots=True)
class WriteRefused:
    """It answers, and takes no writes (`writes.py`): no matter of its state."""


Happening = Quiet | Broken | Heard | Answered | Failed | Drained
Report = Happening | WriteRefused
Step = tuple[State, tuple[Effect, ...]]


def step(state: State, happening: Happening, now: float) -> Step:
    """The state after *happening*, and what is to be done."""
    if isinstance(happening, Answered | Failed) and happening.round != state.round:
        return state, ()
    match state:
        case Connected():
            return _disturbed(state, happening, now)
        case Suspect():
            return _suspect(state, happening, now)
        case Disconnected():
            return _disconnected(state, happening, now)
        case Recovering():
            if isinstance(happening, Drained):
                return Connected(state.round + 1, now), ()
            return _disturbed(state, happening, now)
        case _:
            assert_never(state)


def _disturbed(state: Connected | Recovering, happening: Happening, now: float) -> Step:
    match happening:
        case Quiet():
            return Suspect(state.round + 1, now, "no answer", broken=False), (Effect.KNOCK,)
        case Broken(cause) | Failed(cause=cause):
            return Suspect(state.round + 1, now, cause, broken=True), (Effect.PROBE,)
        case Heard() | Answered() | Drained():
            return state, ()
        case _:
            assert_never(happening)


def _suspect(state: Suspect, happening: Happening, now: float) -> Step:
    match happening:
        case Answered():
            return Connected(state.round + 1, now), (Effect.SETTLE,)
        case Heard() if not state.broken:
            return Connected(state.round + 1, now), (Effect.SETTLE,)
        case Broken(cause) if not state.broken:
            return Suspect(state.round + 1, state.since, cause, broken=True), (Effect.PROBE,)
        case Failed(_, cause, silent):
            silent = silent and not state.broken
            lost = Disconnected(state.round + 1, state.since, cause, attempts=1, silent=silent)
            return lost, (Effect.CUT, Effect.PROBE)
        case Quiet() | Heard() | Broken() | Drained():
            return state, ()
        case _:
            assert_never(happening)


def _disconnected(state: Disconnected, happening: Happening, now: float) -> Step:
    match happening:
        case Answered():
            back = Recovering(state.round + 1, now, state.since, state.attempts)
            return back, (Effect.REFRESH, Effect.SETTLE)
        case Failed(_, cause, silent):
            silent = silent and state.silent
            again = replace(state, cause=cause, attempts=state.attempts + 1, silent=silent)
            return again, (Effect.PROBE,)
        case Quiet() | Broken() | Heard() | Drained():
            return state, ()
        case _:
            assert_never(happening)


def probe_delay(attempt: int, away_for: float, patience: float, *, silent: bool, dice: float) -> float:
    """Seconds between one probe of an absent database and the next.

    25 ms while the outage is younger than *patience* and the host refuses at once, so that its
    first breath is noticed: a refusal costs both sides next to nothing. 250 ms when it is
    *silent*, since such probes pile up. After that it doubles to 1 s. *dice* in [0, 1) spreads
    the result over ±20 %.
    """
    least = 0.25 if silent else 0.025
    over = max(0.0, away_for - patience)
    doublings = min(attempt, over, 6.0)  # more would say nothing, and overflow after a thousand
    delay = least if over == 0.0 else min(1.0, least * 2.0**doublings)
    return delay * (0.8 + 0.4 * dice)
