"""PRF-1: what `guard` adds to a call that succeeds, against the hand-fused floor and the usual choice.

Each entry runs in a process of its own, so that none changes another's numbers; one parent drives
them a batch at a time, in an order shuffled every round, so that a slow stretch of the machine falls
on all alike. A number is the median over rounds of a batch's mean, in processor time of the whole
process, less the bare call's of the same round. Trust the ratios before the microseconds.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import floor

Row = dict[str, Any]
ROUNDS, GENERATIONS, BATCH_NS = 25, 2, 15e6
TURN = 50  # calls between two turns of the event loop, which timers need
COUNTED = 50  # calls under the profiler

# ---- the entries


def nothing() -> None:
    pass


async def nothing_async() -> None:
    pass


def ours(call: Callable[..., Any]) -> Callable[..., Any]:
    from holdfast.guard import guard
    from holdfast.policy.breaker import Breaker
    from holdfast.policy.retry import Retry

    return guard("bench", timeout=1.0, retry=Retry(attempts=3), breaker=Breaker(failures=5))(call)


def tenacious() -> Callable[..., Any]:
    import tenacity

    return tenacity.retry(
        stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_exponential(0.1), reraise=True
    )


def usual_sync() -> Callable[..., Any]:
    import pybreaker

    return tenacious()(pybreaker.CircuitBreaker(fail_max=5, reset_timeout=60)(nothing))


def usual_async() -> Callable[..., Any]:
    import aiobreaker

    guarded = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=60))(nothing_async)

    @tenacious()
    async def call() -> None:
        async with asyncio.timeout(1.0):
            await guarded()

    return call


ENTRIES: dict[str, dict[str, Callable[[], Callable[..., Any]]]] = {
    "async": {
        "bare": lambda: nothing_async,
        "guard": lambda: ours(nothing_async),
        "floor": lambda: floor.guard_async(nothing_async, floor.Breaker()),
        "tenacity + aiobreaker + asyncio.timeout": usual_async,
    },
    "sync": {
        "bare": lambda: nothing,
        "guard": lambda: ours(nothing),
        "floor": lambda: floor.guard_sync(nothing, floor.Breaker()),
        "tenacity + pybreaker": usual_sync,
    },
}

# ---- one entry in one process: a count comes in, nanoseconds a call go out


class Counter:
    """Counts Python's and C's function calls: a number that no neighbour can disturb."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: object, kind: str, arg: object) -> None:
        self.calls += kind in {"call", "c_call"}


def answer(value: float) -> None:
    print(json.dumps(value), flush=True)


def work_sync(call: Callable[[], Any]) -> None:
    for line in sys.stdin:
        if line == "calls\n":
            counter = Counter()
            sys.setprofile(counter)
            for _ in range(COUNTED):
                call()
            sys.setprofile(None)
            answer((counter.calls - 1) / COUNTED)
            continue
        times = int(line)
        gc.collect()
        began = time.process_time_ns()
        for _ in itertools.repeat(None, times):
            call()
        answer((time.process_time_ns() - began) / times)


async def work_async(call: Callable[[], Any]) -> None:
    while line := sys.stdin.readline():
        if line == "calls\n":
            counter = Counter()
            await call()
            sys.setprofile(counter)
            for _ in range(COUNTED):
                await call()
            sys.setprofile(None)
            answer((counter.calls - 1) / COUNTED)
            continue
        turns = max(1, int(line) // TURN)
        gc.collect()
        began = time.process_time_ns()
        for _ in itertools.repeat(None, turns):
            for _ in itertools.repeat(None, TURN):
                await call()
            await asyncio.sleep(0)
        answer((time.process_time_ns() - began) / (turns * TURN))


def work(kind: str, name: str) -> None:
    call = ENTRIES[kind][name]()
    gc.freeze()
    if kind == "sync":
        work_sync(call)
    else:
        asyncio.run(work_async(call))


# ---- the parent


class Worker:
    """A process that runs one entry."""

    def __init__(self, kind: str, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.guard", kind, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
            env={**os.environ, "PYTHONHASHSEED": str(random.randrange(1, 2**31))},
        )
        self.times = self.calibrated()

    def ask(self, what: object) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.name!r} ended; run its entry alone to see why")
        return float(json.loads(line))

    def calibrated(self) -> int:
        self.ask(TURN)
        return max(TURN, int(BATCH_NS / self.ask(20 * TURN)))

    def close(self) -> None:
        self.process.communicate(timeout=10)


def measure(kind: str) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Added nanoseconds of each entry, a number a round; and the functions that a call of it calls."""
    added: dict[str, list[float]] = {name: [] for name in ENTRIES[kind]}
    calls: dict[str, float] = {}
    for _ in range(GENERATIONS):
        workers = [Worker(kind, name) for name in ENTRIES[kind]]
        try:
            for _ in range(ROUNDS):
                random.shuffle(workers)
                this = {worker.name: worker.ask(worker.times) for worker in workers}
                for name, value in this.items():
                    added[name].append(value - this["bare"])
            calls = {worker.name: worker.ask("calls") for worker in workers}
        finally:
            for worker in workers:
                worker.close()
    return added, calls


def row(what: str, mine: float, peer: float, target: str, spread: str) -> Row:
    """One line of the report; `ratio` is ours divided by the peer's."""
    return {
        "figure": "PRF-1",
        "what": what,
        "ours": round(mine, 3),
        "peer": round(peer, 3),
        "ratio": round(mine / peer, 3),
        "target": target,
        "spread": spread,
    }


def run() -> list[Row]:
    """Measure everything; the times are microseconds added to a bare call."""
    rows = []
    for kind in ("async", "sync"):
        added, calls = measure(kind)
        micro = {name: statistics.median(values) / 1000 for name, values in added.items()}
        low, _, high = statistics.quantiles(added["guard"], n=4)
        spread = f"{low / 1000:.2f}–{high / 1000:.2f}"
        for name in micro:
            if name in {"bare", "guard"}:
                continue
            # 1.0 and 0.5 µs are meant on the reference machine, where the floor takes half of it
            target = "≤ 2.0 × floor" if name == "floor" else "≤ 0.04 × (25 × less)"
            what = f"guard, {kind}, success: µs added to a bare call; peer: {name}"
            rows.append(row(what, micro["guard"], micro[name], target, spread))
        what = f"guard, {kind}, success: functions called; peer: floor"
        rows.append(row(what, calls["guard"], calls["floor"], "≤ 10", "exact"))
    return rows


def main() -> None:
    if len(sys.argv) == 3:
        work(sys.argv[1], sys.argv[2])
        return
    for one in run():
        print(
            f"{one['what']:<95} ours {one['ours']:>6} peer {one['peer']:>7} "
            f"ratio {one['ratio']:>5} target {one['target']}, quartiles {one['spread']}"
        )


if __name__ == "__main__":
    main()
