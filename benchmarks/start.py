"""PRF-6: how fast the command line answers, and what holdfast adds between database and listening.

The application prints when its imports began and ended; they are its own, and taken out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.report import Row, row
from benchmarks.requests import fill
from benchmarks.serving import Served, Under, serving
from benchmarks.statistic import median, quartiles
from holdfast.drill.servers import real_server

TIMES = 10
_IMPORTED = re.compile(r"imported from ([\d.]+) to ([\d.]+)")


def run(quick: bool = False) -> list[Row]:
    """Milliseconds of `--help`, from database to listening, and of a whole start."""
    times = 3 if quick else TIMES
    return [_help(times), *_starts(times)]


def _help(times: int) -> Row:
    holdfast, uvicorn = Path(sys.executable).parent / "holdfast", Path(sys.executable).parent / "uvicorn"
    ours, theirs = [], []
    for number in range(times + 1):
        mine, other = _timed([str(holdfast), "--help"]), _timed([str(uvicorn), "--help"])
        if number:  # the first one compiles and fills the cache of files
            ours.append(mine)
            theirs.append(other)
    what = "holdfast --help, ms; peer: uvicorn --help"
    return row("PRF-6", what, median(ours), median(theirs), target="≤ 200.0 ms", spread=quartiles(ours, 0))


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def _starts(times: int) -> list[Row]:
    added: dict[Under, list[float]] = {"holdfast": [], "uvicorn": []}
    whole: dict[Under, list[float]] = {"holdfast": [], "uvicorn": []}
    with real_server("postgresql") as server:
        fill(server)
        environment = {"DATABASE_URL": server.url("asyncpg")}
        for _ in range(times):
            for under in added:
                with serving("async_shop:app", under, environment) as served:
                    listening_at = time.time()
                    whole[under].append((listening_at - served.started_at) * 1000)
                    added[under].append(_after_imports(served, under, listening_at))
    ours, theirs = added["holdfast"], added["uvicorn"]
    between = "database ready to listening, ms without own imports; peer: uvicorn, imported to listening"
    all_of = "whole start, process to listening, ms; peer: plain uvicorn"
    mine, other = whole["holdfast"], whole["uvicorn"]
    return [
        row("PRF-6", between, median(ours), median(theirs), target="≤ 300.0 ms", spread=quartiles(ours, 0)),
        row("PRF-6", all_of, median(mine), median(other), spread=quartiles(mine, 0)),
    ]


def _after_imports(served: Served, under: Under, listening_at: float) -> float:
    """Milliseconds that are the server's own, after the database was there (uvicorn knows of none)."""
    served.stop()  # the log is complete
    output = served.output
    imported = _IMPORTED.search(output)
    if imported is None:
        raise RuntimeError(f"the application did not say when it was imported:\n{output}")
    began, ended = float(imported[1]), float(imported[2])
    if under == "uvicorn":
        return (listening_at - ended) * 1000
    ready, listening = (_finished(output, phase) for phase in ("databases", "listen"))
    return max(0.0, listening - ready - (ended - began)) * 1000


def _finished(output: str, phase: str) -> float:
    for line in output.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            if told.get("event") == "phase_finished" and told["phase"] == phase:
                return datetime.fromisoformat(told["timestamp"]).timestamp()
    raise RuntimeError(f"no phase {phase!r} in the log:\n{output}")
