"""The few statistics that the figures share."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

median = statistics.median


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which *share* of them lie, by the nearest rank: p99 of 20 is the worst."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def quartiles(values: Sequence[float], digits: int = 2) -> str:
    """Lower and upper quartile, for people."""
    if len(values) < 2:
        return ""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.{digits}f}–{high:.{digits}f}"
