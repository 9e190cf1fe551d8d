"""Reaching the databases at startup: a bounded number of attempts, and a message worth reading."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database
from holdfast.databases.watch import Watch
from holdfast.events import BUS, Bus, ConnectAttempted
from holdfast.faults.category import Category, Fault
from holdfast.faults.classify import classify
from holdfast.faults.said import said
from holdfast.runtime.cure import cure, is_mistake
from holdfast.settings.failure import Exit, StartFailure

PHASE = "databases"
BASE_S, CAP_S = 0.2, 5.0
Tell = Callable[[str, str, Mapping[str, object]], object]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to try, seconds each."""

    attempts: int = 5
    timeout: float = 10.0


async def reach(
    databases: Iterable[Database], watch: Watch, patience: Patience, dice: random.Random, bus: Bus = BUS
) -> None:
    """Log in to every one of *databases*; full jitter between attempts, 0.2 s doubling to 5 s.

    Raises `StartFailure` (exit status 69) for the first that cannot be reached. What no waiting
    cures (a wrong password, a parameter that the driver does not know) is not tried again.
    """
    for database in databases:
        if database.driver.networked:
            await _reach_one(database, watch, patience, dice, bus)


async def start_without(databases: Iterable[Database], watch: Watch, timeout: float, tell: Tell) -> bool:
    """One attempt at each of *databases*, for a start that needs none of them; whether one is absent.

    Raises `StartFailure` for what no waiting cures.
    """
    absent = False
    for database in databases:
        error = await is_there(database, watch, timeout) if database.driver.networked else None
        if error is None or _misfit(database, error):
            continue
        if is_hopeless(error):
            raise failure(database, error, classify(error, database=True), 1) from error
        absent = True
        database.broken(f"{type(error).__name__} at startup")
        tell(
            "warning",
            f"the database {database.target} is not there; starting without it, requests will wait",
            {"phase": PHASE, "cause": said(error)},
        )
    return absent


async def is_there(database: Database, watch: Watch, timeout: float) -> BaseException | None:
    """One attempt: None, or why not."""
    try:
        await asyncio.wrap_future(watch.ask(watch.connect(database, timeout)))
    except Exception as error:  # noqa: BLE001 - whatever a driver raises is the answer
        return error
    return None


def is_hopeless(error: BaseException) -> bool:
    """Whether *error* will be the same however long one waits."""
    fault = classify(error, database=True)
    unknown = fault.category is Category.UNKNOWN
    return is_mistake(error) or not (fault.transient or fault.lost or unknown)


def _misfit(database: Database, error: BaseException) -> bool:
    """Whether our own guess at a driver does not fit the address; the application's engine will tell."""
    unknown = classify(error, database=True).category is Category.UNKNOWN
    return database.driver.provisional and (unknown or is_mistake(error))


async def _reach_one(
    database: Database, watch: Watch, patience: Patience, dice: random.Random, bus: Bus
) -> None:
    for attempt in range(1, patience.attempts + 1):
        error = await is_there(database, watch, patience.timeout)
        if error is None or _misfit(database, error):
            return
        fault = classify(error, database=True)
        last = attempt == patience.attempts or is_hopeless(error)
        delay = None if last else delay_after(attempt, dice)
        bus.publish(attempted(database, error, attempt, patience, delay))
        if delay is None:
            raise failure(database, error, fault, attempt) from error
        await asyncio.sleep(delay)


def delay_after(attempt: int, dice: random.Random) -> float:
    """Seconds between that attempt and the next: full jitter, 0.2 s doubling to 5 s."""
    return dice.random() * min(CAP_S, BASE_S * 2.0 ** (attempt - 1))


def attempted(
    database: Database, error: BaseException, attempt: int, patience: Patience, delay: float | None
) -> ConnectAttempted:
    """What is told of an attempt that failed."""
    return ConnectAttempted(
        database=database.name,
        target=database.target,
        attempt=attempt,
        attempts=patience.attempts,
        cause=said(error),
        timeout_s=patience.timeout,
        next_s=None if delay is None else round(delay, 3),
    )


def failure(database: Database, error: BaseException, fault: Fault, attempts: int) -> StartFailure:
    """What *error* means to whoever started the server, and what to do."""
    tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    description = f"The database {database.target} could not be used ({tried}).\n{said(error)}"
    return StartFailure(PHASE, description, cure(error, fault), Exit.UNAVAILABLE)


async def settled(registry: Registry) -> None:
    """Return when every database answers, however long that takes."""
    for database in registry:
        await database.until_settled(None)
