"""Rounds of load, faults and judgement; run by itself: `python tests/crash/loop.py --rounds 500`.

A round with the same seed and number draws the same orders and the same faults at the same
moments; `--first` begins at a round, to see one again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[1] / "real"))

import aiohttp
from operations import follow
from oracle import Due, Violation, due, judge
from orders import PATIENCE, Order, Orders
from running import ASYNCPG, LATE, PSYCOPG, SYNC
from schedule import Planned, dice_of, draw, silent_until
from stage import Plot, Stage, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RATE = 100.0
LOAD = (3.0, 5.0)  # seconds of load in a round
PLOTS = (
    *(Plot(shop, journal) for shop in (ASYNCPG, PSYCOPG, SYNC) for journal in (False, True)),
    Plot(LATE, journal=False),
)


@dataclass(slots=True)
class Round:
    """One round, judged."""

    seed: int
    number: int
    plot: Plot
    faults: list[Planned]
    orders: list[Order]
    events: list[str]
    violations: list[Violation]
    began_at: float = 0.0  # monotonic
    output: str = ""  # of the shop, when something is wrong

    def line(self) -> str:
        """What happened, in a line or two."""
        answers = Counter(answer.kind for order in self.orders for answer in order.answers)
        lasts = Counter(answer.kind for order in self.orders for answer in order.lasts)
        broken = Counter(one.claim for one in self.violations)
        verdict = f"{len(self.violations)} VIOLATIONS ({_counted(broken)})" if broken else "right"
        return (
            f"seed {self.seed} round {self.number} {self.plot.name}: {verdict}; {len(self.orders)} orders; "
            f"faults: {'; '.join(map(str, self.faults))}\n    events:  {'; '.join(self.events)}\n"
            f"    answers: {_counted(answers)}\n    last:    {_counted(lasts)}"
        )

    def report(self) -> str:
        """Everything needed to understand what went wrong."""
        told = [
            f"{one.claim}\n{one.order.told(self.began_at) if one.order else ''}"
            for one in self.violations[:20]
        ]
        return "\n".join([self.line(), *told, self.output])

    def stories(self, kind: str) -> str:
        """The orders that had an answer whose kind holds *kind*."""
        chosen = [one for one in self.orders if any(kind in answer.kind for answer in one.answers)]
        return "\n".join(one.told(self.began_at) for one in chosen)


@dataclass(slots=True)
class Run:
    """What all rounds of one stage came to."""

    rounds: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # of all answers
    requests: int = 0
    failed: list[Round] = field(default_factory=list)
    promised: dict[str, Due] = field(default_factory=dict)  # by reference, of all rounds
    figures: str = ""

    def add(self, one: Round) -> None:
        """Count a round."""
        self.rounds += 1
        for order in one.orders:
            self.kinds.update(answer.kind for answer in order.answers)
            self.requests += len(order.answers)
            self.promised[order.reference] = due(order)
        if one.violations:
            self.failed.append(one)


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{what} ×{count}" for what, count in counter.most_common())


async def play(
    plot: Plot, seed: int, numbers: Iterable[int], load: tuple[float, float] = LOAD, tell: str | None = None
) -> Run:
    """Play the rounds *numbers* on one stage, printing each, and judge all of them again at the end."""
    run = Run()
    async with stage(plot) as one:
        for number in numbers:
            played = await play_round(one, seed, number, load)
            run.add(played)
            print(played.report() if played.violations else played.line(), flush=True)
            if tell and (stories := played.stories(tell)):
                print(stories, one.output, sep="\n", flush=True)
        await _judge_all(one, run, seed)
        run.figures = (
            f"{plot.name}: {run.rounds} rounds, {len(run.promised)} orders, {run.requests} requests, "
            f"{one.tally}, {one.proxy.counters.cuts} cuts, {len(run.failed)} rounds wrong\n"
            f"    {_counted(run.kinds)}"
        )
        print(run.figures, flush=True)
    return run


async def play_round(one: Stage, seed: int, number: int, load: tuple[float, float]) -> Round:
    """One round: load and faults, then heal, wait until all is well, judge."""
    dice = dice_of(seed, number, one.plot.name)
    seconds = dice.uniform(*load)
    faults = draw(dice, seconds, journal=one.plot.journal)
    prefix = f"order-{number}-"
    async with _clients(one.url) as session:
        orders = Orders(session, dice, prefix)
        one.open_round()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(orders.arrive(RATE, seconds))
            for planned in faults:
                tasks.create_task(one.inflict(planned))
            tasks.create_task(_heal_after(one, max(seconds, silent_until(faults))))
        well = await one.well(session)
        await follow(session, orders.placed)
    violations = judge(orders.placed, await _counts(one, f"WHERE reference LIKE '{prefix}%'"))
    if not well:
        violations.append(Violation("not well again within 30 s"))
    violations += [Violation(f"the shop ended by itself: {end}") for end in one.own_ends]
    played = Round(seed, number, one.plot, faults, orders.placed, list(one.events), violations)
    played.began_at, played.output = one.began_at, one.output if violations else ""
    return played


async def _judge_all(one: Stage, run: Run, seed: int) -> None:
    """Look at every order again: what lands late must not be twice there, nor against its answer."""
    counts = await _counts(one)
    wrong = [ref for ref, wanted in run.promised.items() if not wanted.holds(counts.get(ref, 0))]
    known = {
        order.reference for failed in run.failed for order in (v.order for v in failed.violations) if order
    }
    late = [
        Violation(f"{ref} is there {counts.get(ref, 0)} times at the end, must be {run.promised[ref].value}")
        for ref in wrong
        if ref not in known
    ]
    late += [Violation(f"{ref} was never ordered") for ref in counts.keys() - run.promised.keys()]
    if late:
        last = Round(seed, -1, one.plot, [], [], [], late, one.began_at, one.output)
        run.failed.append(last)
        print(last.report(), flush=True)


async def _heal_after(one: Stage, seconds: float) -> None:
    """End what is left of faults when the load is over: clients are still asking."""
    await asyncio.sleep(seconds)
    one.proxy.heal()


async def _counts(one: Stage, where: str = "") -> dict[str, int]:
    rows = await asyncio.to_thread(
        one.server.execute, f"SELECT reference, count(*) FROM orders {where} GROUP BY reference"
    )
    return {reference: int(count) for reference, count in rows}


@asynccontextmanager
async def _clients(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    # Less than the servers' five seconds: else both ends race over connections that fall idle.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as session:
        yield session


def main() -> int:
    """Command line; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="drawn when missing")
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    parser.add_argument("--tell", help="show the orders that had an answer with this in it, too")
    parser.add_argument("--shop", choices=[plot.name for plot in PLOTS], help="all in turn when missing")
    given = parser.parse_args()
    seed = random.SystemRandom().randint(1, 999_999) if given.seed is None else given.seed
    plots = [plot for plot in PLOTS if given.shop in (None, plot.name)]
    began_at = time.monotonic()
    print(f"seed {seed}, {given.rounds} rounds", flush=True)
    runs = []
    for place, plot in enumerate(plots):
        numbers = range(given.first + place, given.first + given.rounds, len(plots))
        runs.append(asyncio.run(play(plot, seed, numbers, tell=given.tell)))
    print(f"── seed {seed}, {time.monotonic() - began_at:.0f} s")
    for run in runs:
        print(run.figures)
    return 1 if any(run.failed for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
