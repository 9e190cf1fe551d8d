"""How many retries all calls together may add to the traffic: a share of it, and a reserved rate.

A bucket of tokens, one a retry. Every call puts in `share` of a token, every second
`reserved_per_s`. What lies in it is forgotten over `window_s`, so "recent traffic" needs no list of
calls: under steady traffic the bucket holds what the last `window_s` seconds put in, and retries
never exceed the start, the share of the calls and the reserved rate together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """`share` of calls that may be retries, `reserved_per_s` retries a second whatever the traffic,
    `window_s` seconds that count as recent. Raises ValueError for a negative or endless number."""

    share: float = 0.1
    reserved_per_s: float = 10.0
    window_s: float = 10.0

    def __post_init__(self) -> None:
        for name in ("share", "reserved_per_s", "window_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Budget {name} is {value}; give 0 or more")
        if self.window_s == 0:
            raise ValueError("Budget window_s is 0; give the seconds that count as recent, as 10")


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` in hand at `at` (monotonic), when `calls` calls had been counted in all."""

    tokens: float
    calls: int
    at: float


def full(rules: Budget, calls: int, now: float) -> Bucket:
    """The bucket to begin with: what the reserved rate puts in over one window."""
    return Bucket(rules.reserved_per_s * rules.window_s, calls, now)


def earn(rules: Budget, bucket: Bucket, calls: int, now: float) -> Bucket:
    """*bucket* at *now*, when *calls* calls have been counted in all."""
    passed = max(0.0, now - bucket.at)
    windows = passed / rules.window_s
    gained = rules.share * max(0, calls - bucket.calls) + rules.reserved_per_s * passed
    # What came in evenly meanwhile has, on average, been forgotten in part already.
    kept = -math.expm1(-windows) / windows if windows else 1.0
    tokens = bucket.tokens * math.exp(-windows) + gained * kept
    return Bucket(tokens, max(calls, bucket.calls), max(now, bucket.at))


def spend(rules: Budget, bucket: Bucket, calls: int, now: float) -> tuple[Bucket, bool]:
    """One retry is asked for: the bucket afterwards, and whether it may go."""
    earned = earn(rules, bucket, calls, now)
    if earned.tokens < 1.0:
        return earned, False
    return Bucket(earned.tokens - 1.0, earned.calls, earned.at), True
