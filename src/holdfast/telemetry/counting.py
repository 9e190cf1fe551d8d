"""An outage is one incident: the same failure is told in full once, then counted.

Pure: `step` sees one failure and says how to tell it; `settle` is asked when the outage is over.
Nothing gets lost between them: every failure is a `Full`, or is counted in a `Counted`, in the
`earlier` of a later `Full`, or in what `settle` returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

LINE_S: Final = 10.0  # between two lines about the same failure
FORGET_S: Final = 60.0  # without it for so long, the failure is a new one


class Fingerprint(NamedTuple):
    """What makes two log records the same failure."""

    logger: str
    level: str
    error: str | None  # name of the exception's type
    message: str  # template, numbers taken out


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one failure: when it was last told and seen, and how often not told."""

    told_at: float
    last_at: float
    untold: int = 0


@dataclass(frozen=True, slots=True)
class Full:
    """Tell it in full; `earlier` ones of the same kind, long ago, were never told."""

    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """Tell it in one line: it happened `times` times in the last `within` seconds, this one included."""

    times: int
    within: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """Do not tell it now; it is counted."""


Verdict: TypeAlias = Full | Counted | Quiet


def step(seen: Seen | None, now: float) -> tuple[Seen, Verdict]:
    """The failure known as *seen* happened again at *now*; None says that it never did."""
    if seen is None:
        return Seen(told_at=now, last_at=now), Full()
    if _is_old(seen, now):
        return Seen(told_at=now, last_at=now), Full(earlier=seen.untold)
    if now - seen.told_at >= LINE_S:
        return Seen(told_at=now, last_at=now), Counted(seen.untold + 1, now - seen.told_at)
    return replace(seen, last_at=now, untold=seen.untold + 1), Quiet()


def settle(
    state: Mapping[Fingerprint, Seen], now: float
) -> tuple[dict[Fingerprint, Seen], dict[Fingerprint, int]]:
    """The state after everything untold was told, and what that was, most frequent first."""
    left = {
        key: replace(seen, untold=0, told_at=now) for key, seen in state.items() if not _is_old(seen, now)
    }
    return left, _untold(state)


def expire(
    state: Mapping[Fingerprint, Seen], now: float
) -> tuple[dict[Fingerprint, Seen], dict[Fingerprint, int]]:
    """The state without the failures not seen for long, and how often those were not told."""
    left = {key: seen for key, seen in state.items() if not _is_old(seen, now)}
    return left, _untold({key: seen for key, seen in state.items() if key not in left})


def _is_old(seen: Seen, now: float) -> bool:
    return now - seen.last_at > FORGET_S


def _untold(state: Mapping[Fingerprint, Seen]) -> dict[Fingerprint, int]:
    untold = {key: seen.untold for key, seen in state.items() if seen.untold}
    return dict(sorted(untold.items(), key=lambda pair: -pair[1]))


_VARYING: Final = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\d+")


def template(message: str) -> str:
    """*message* without what varies from one occurrence to the next, at most 120 characters."""
    return _VARYING.sub("#", message[:200])[:120]
