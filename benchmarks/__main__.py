"""`python -m benchmarks [NAME…] [--quick]`: run the figures, print a table, write RESULTS.md.

RESULTS.md is written by a whole run only: a part of it would stand beside older numbers.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from typing import Any

from benchmarks.load import tool
from benchmarks.report import RESULTS, Row, markdown, met, table

FIGURES = (
    "start",
    "guard",
    "queries",
    "enrichment",
    "log_events",
    "added",
    "requests",
    "keyed",
    "memory",
    "refusal",
    "shutdown",
    "recovery",
    "journal",
)


def main() -> int:
    """1 when a figure could not be measured; a missed target is told, and is no failure of the run."""
    asked = _asked()
    began, load = time.monotonic(), os.getloadavg()
    rows: list[Row] = []
    broken: list[str] = []
    for name in asked.names or FIGURES:
        at = time.monotonic()
        try:
            found = _measure(name, quick=asked.quick)
        except Exception:
            traceback.print_exc()
            broken.append(name)
            continue
        rows += found
        print(table(found))
        print(f"  ({name}: {time.monotonic() - at:.0f} s)\n", flush=True)
    took = time.monotonic() - began
    _conclude(rows, broken)
    if not (asked.names or asked.quick or broken):
        RESULTS.write_text(
            markdown(rows, took=took, load=(load, os.getloadavg()), notes=(f"Closed-loop load by {tool()}",))
        )
        print(f"written: benchmarks/{RESULTS.name}, {took:.0f} s")
    return 1 if broken else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which figures: {', '.join(FIGURES)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; the numbers are rough")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in FIGURES]
    if unknown:
        parser.error(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    return asked


def _measure(name: str, *, quick: bool) -> list[Row]:
    module: Any = importlib.import_module(f"benchmarks.{name}")
    found: list[Row] = module.run() if name == "guard" else module.run(quick)
    return found


def _conclude(rows: list[Row], broken: list[str]) -> None:
    missed = [one for one in rows if met(one) is False]
    held = sum(met(one) is True for one in rows)
    print(f"{held} targets met, {len(missed)} missed" + (":" if missed else ""))
    for one in missed:
        print(f"  {one['figure']} {one['what']}: {one['ours']:g}, ratio {one['ratio']}, {one['target']}")
    if broken:
        print(f"could not be measured: {', '.join(broken)}")


if __name__ == "__main__":
    sys.exit(main())
