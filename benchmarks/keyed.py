"""REQ-5: what an Idempotency-Key costs: the same write with and without one, through `holdfast run`.

One process on one PostgreSQL that syncs its commits, loaded in turns in the order A B B A: a keyed
write adds a look, a row in its own transaction, and the answer written beside it afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

from benchmarks.load import CONNECTIONS, Done
from benchmarks.report import Row, row
from benchmarks.serving import Served, serving
from benchmarks.statistic import median, quartiles
from holdfast.drill.servers import real_server

SLICE_S = 1
ROUNDS = 24
_TABLE = "CREATE TABLE orders (id serial PRIMARY KEY, reference varchar NOT NULL)"
_SLICES = count()


def run(quick: bool = False) -> list[Row]:
    """Rows for the rate, and for the processor time of the server a request."""
    with real_server("postgresql", durable=True) as server:
        server.execute(_TABLE)
        with serving("order_shop:app", "holdfast", {"DATABASE_URL": server.url("asyncpg")}) as shop:
            for keyed in (False, True):
                _slice(shop, keyed)  # imports, prepared statements, pools, the table
            samples: dict[bool, list[tuple[Done, float]]] = {False: [], True: []}
            for number in range(4 if quick else ROUNDS):
                for keyed in (False, True) if number % 2 else (True, False):
                    samples[keyed].append(_slice(shop, keyed))
            if "hook_skipped" in shop.output or "markers_off" in shop.output:
                raise RuntimeError(f"no keys were kept, the figure would be too good:\n{shop.output}")
            _check(
                server.execute("SELECT count(*) FROM holdfast_idempotency WHERE status = 200"), samples[True]
            )
    return _rows(samples[True], samples[False])


def _slice(shop: Served, keyed: bool) -> tuple[Done, float]:
    """One slice of load, and the microseconds of processor time that a request of it took."""
    before = shop.cpu()
    prefix = f"slice-{next(_SLICES)}-" if keyed else ""
    command = [
        sys.executable,
        "-m",
        "benchmarks.writing",
        str(shop.port),
        prefix,
        str(CONNECTIONS),
        str(SLICE_S),
    ]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode:
        raise RuntimeError(f"the client failed ({done.returncode}): {done.stderr.strip()}")
    told = json.loads(done.stdout)
    if told["failed"]:
        raise RuntimeError(f"{told['failed']} of {told['requests']} requests failed")
    result = Done(int(told["requests"]), told["seconds"])
    return result, (shop.cpu() - before) / result.requests * 1e6


def _check(kept: list[tuple[str, ...]], keyed: list[tuple[Done, float]]) -> None:
    ((found,),) = kept
    sent = sum(done.requests for done, _ in keyed)
    if int(found) < 0.95 * sent:  # the last ones may still be on their way
        raise RuntimeError(f"only {found} answers of {sent} keyed requests were kept")


def _rows(keyed: list[tuple[Done, float]], plain: list[tuple[Done, float]]) -> list[Row]:
    pairs = list(zip(keyed, plain, strict=True))
    times = [one[0].seconds / one[0].requests / (two[0].seconds / two[0].requests) for one, two in pairs]
    costs = [one[1] / two[1] for one, two in pairs]
    by = f"{CONNECTIONS} connections, asyncpg, load {os.getloadavg()[0]:.1f}"
    return [
        row(
            "REQ-5",
            f"a keyed write, µs a request in a closed loop; peer: the same without a key ({by})",
            median([one[0].seconds / one[0].requests * 1e6 for one in keyed]),
            median([one[0].seconds / one[0].requests * 1e6 for one in plain]),
            ratio=median(times),
            target="≤ 1.35 ×",
            spread=quartiles(times, 3),
        ),
        row(
            "REQ-5",
            "processor time of the server a keyed write, µs; peer: the same without a key",
            median([one[1] for one in keyed]),
            median([one[1] for one in plain]),
            ratio=median(costs),
            spread=quartiles(costs, 3),
        ),
    ]
