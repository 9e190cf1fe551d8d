"""What the shop's /metrics say, as the few numbers that the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

_LINE: Final = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Figures:
    """The shop at one moment, counted since its start; `outages_s` is the sum of all outages."""

    served: int = 0
    held: int = 0
    replayed: int = 0
    failed: int = 0
    waiting: int = 0
    up: bool = True
    outages_s: float = 0.0
    refused: Mapping[str, int] = field(default_factory=dict)  # by code


def read(text: str) -> Figures:
    """The figures in *text*, which is in Prometheus' text format; what is missing counts as nothing."""
    served = failed = 0
    single: dict[str, float] = {}
    refused: dict[str, int] = {}
    for name, labels, value in _samples(text):
        if name == "holdfast_requests_total":
            failed += int(value) if labels["status"] >= "500" else 0
            served += int(value) if labels["status"] < "500" else 0
        elif name == "holdfast_requests_refused_total":
            refused[labels["code"]] = int(value)
        else:
            single[name] = value  # the shop has one database, so that one sample is all there is
    return Figures(
        served=served,
        held=int(single.get("holdfast_requests_held_total", 0)),
        replayed=int(single.get("holdfast_requests_replayed_total", 0)),
        failed=failed,
        waiting=int(single.get("holdfast_requests_waiting", 0)),
        up=single.get("holdfast_database_up", 1.0) > 0,
        outages_s=single.get("holdfast_recovery_seconds_sum", 0.0),
        refused=refused,
    )


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for found in _LINE.finditer(text):
        yield found["name"], dict(_LABEL.findall(found["labels"] or "")), float(found["value"])
