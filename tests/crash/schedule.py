"""Which faults meet a round, drawn from its seed: values, no waiting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from random import Random

from wire import Moment

LONGEST_ABSENCE = 2.0
LONGEST_SILENCE = 3.0
MOST_FAULTS = 4


class Kind(Enum):
    """What is done to whom."""

    KILL_SHOP = "kill -9 holdfast"
    KILL_DATABASE = "kill -9 postgresql"
    KILL_BOTH = "kill -9 both"
    CUT = "cut"
    SILENCE = "silence"  # bytes are lost, and their connections with them
    STALL = "stall"  # bytes are held, and arrive when it ends
    SLOW = "slow"  # each byte is a little late: what happens between two of them is hit more often
    FILL_DISK = "fill the disk"
    KILL_DRAIN = "kill -9 postgresql, and holdfast twice as its journal drains"


_WEIGHTS = {
    Kind.KILL_SHOP: 4,
    Kind.KILL_DATABASE: 4,
    Kind.KILL_BOTH: 2,
    Kind.CUT: 6,
    Kind.SILENCE: 1,
    Kind.STALL: 2,
    Kind.SLOW: 2,
    Kind.FILL_DISK: 2,
    Kind.KILL_DRAIN: 4,
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault; `at` in seconds from the round's begin, `lasts` and `delay` in seconds."""

    kind: Kind
    at: float
    lasts: float = 0.0
    moment: Moment = Moment.BEFORE
    times: int = 1
    delay: float = 0.0

    def __str__(self) -> str:
        match self.kind:
            case Kind.KILL_SHOP:
                detail = ""
            case Kind.CUT:
                detail = f" {self.moment.value} ×{self.times}"
            case _:
                detail = f" for {self.lasts:.2f} s"
        return f"{self.at:.2f} s {self.kind.value}{detail}"


def dice_of(seed: int, number: int, name: str) -> Random:
    """The dice of round *number* of stage *name*: the same whatever rounds came before."""
    return Random(f"{seed}:{number}:{name}")


def draw(dice: Random, seconds: float, *, journal: bool) -> list[Planned]:
    """One to four faults within *seconds*, in order; some are for a journal alone."""
    kinds = [kind for kind in Kind if journal or kind not in (Kind.FILL_DISK, Kind.KILL_DRAIN)]
    drawn = dice.choices(kinds, [_WEIGHTS[kind] for kind in kinds], k=dice.randint(1, MOST_FAULTS))
    return sorted((_plan(dice, kind, seconds) for kind in drawn), key=lambda one: one.at)


def silent_until(faults: Iterable[Planned]) -> float:
    """When the last silence or stall ends, in seconds from the round's begin."""
    silent = [one.at + one.lasts for one in faults if one.kind in (Kind.SILENCE, Kind.STALL)]
    return max(silent, default=0.0)


def _plan(dice: Random, kind: Kind, seconds: float) -> Planned:
    longest = LONGEST_SILENCE if kind in (Kind.SILENCE, Kind.STALL) else LONGEST_ABSENCE
    return Planned(
        kind=kind,
        at=dice.uniform(0.1, seconds),
        lasts=dice.uniform(0.0, longest),
        moment=dice.choice(list(Moment)),
        times=dice.randint(1, 5),
        delay=dice.uniform(0.0, 0.6 if kind is Kind.KILL_DRAIN else 0.003),
    )
