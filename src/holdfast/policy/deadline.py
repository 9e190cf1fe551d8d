"""Deadlines: moments in monotonic seconds, which only ever move closer on the way in."""

from __future__ import annotations

import math

NEVER = math.inf


def soonest(*deadlines: float | None) -> float:
    """The moment that binds; `NEVER` when there is no deadline among *deadlines*."""
    return min((one for one in deadlines if one is not None), default=NEVER)


def shrink(outer_at: float | None, now: float, timeout: float | None) -> float:
    """The deadline of work begun at *now* with *timeout* seconds, inside work that must end by *outer_at*."""
    return soonest(outer_at, None if timeout is None else now + timeout)


def left(deadline_at: float, now: float) -> float:
    """Seconds until *deadline_at*, 0 once it has passed."""
    return max(0.0, deadline_at - now)
