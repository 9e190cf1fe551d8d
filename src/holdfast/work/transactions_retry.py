"""How often and how soon a transaction is attempted again, and whom it waits for meanwhile.

    contention (serialization, deadlock, write conflict, lock)   attempts, backoff, deadline
    the connection was lost before COMMIT                        the same, and the process's retry budget;
                                                                 while the database is away it is waited for
    the outcome is unknown, anything else                        never

Contention asks no budget: the budget protects a server in trouble from those who hammer at it, and a
server that says "another transaction was first" is well and has just finished that other one. What
bounds such attempts is their number, which whoever expects a crowd gives.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from holdfast.context import REQUEST
from holdfast.events import BUS
from holdfast.faults.category import Fault
from holdfast.faults.said import said
from holdfast.guard.allowance import PROCESS_BUDGET
from holdfast.guard.deadline import deadline_at
from holdfast.policy.backoff import Backoff
from holdfast.policy.deadline import NEVER
from holdfast.policy.replay import Commit
from holdfast.policy.retry import Failure, GiveUp, Retry, after_failure
from holdfast.work.events import TransactionRetried
from holdfast.work.transactions_end import is_contention, passes

if TYPE_CHECKING:
    from holdfast.databases.database import Database

AWAY = "the database is away"
_DICE = Random()


@dataclass(frozen=True, slots=True)
class TransactionRules:
    """For transactions whose caller says nothing else: attempts in all, and seconds between them."""

    attempts: int = 3
    base_delay: float = 0.1
    most_delay: float = 1.0  # losers of a race come back soon: the winner is done


class Defaults:
    """The rules in force. The composition root sets them; read at the start of each transaction."""

    def __init__(self) -> None:
        self.rules = TransactionRules()


DEFAULTS = Defaults()


@dataclass(frozen=True, slots=True)
class Ended:
    """One attempt that raised *error*: what became of it, and what the error means."""

    error: BaseException
    end: Commit
    fault: Fault
    ours: bool  # the error came out of the transaction's own database
    unmarked: bool = False  # its marker could not be written, and no further one will be tried


class Course:
    """The attempts at one piece of work. Owned by the task or thread that makes them.

    Raises ValueError for less than one attempt.
    """

    def __init__(self, attempts: int | None) -> None:
        rules = DEFAULTS.rules
        most = max(rules.base_delay, rules.most_delay)
        self._retry = Retry(
            attempts=rules.attempts if attempts is None else attempts,
            backoff=Backoff(first=rules.base_delay, cap=most),
        )
        self.attempt = 1
        self._began = monotonic()
        self._deadline_at = deadline_at()
        self._charged: list[BaseException] = []
        self._charged_before = _charge()
        PROCESS_BUDGET.calls += 1

    def pause_after(self, ended: Ended, database: Database | None) -> float | None:
        """The least seconds until the next attempt; None when there is none: a note on the error says why."""
        error = ended.error
        if not isinstance(error, Exception) or ended.end is not Commit.ROLLED_BACK:
            return None
        self._remember_charge()
        decision = self._decide(ended, error, database)
        if isinstance(decision, float):
            return decision
        if self.attempt > 1 or decision is not GiveUp.NOT_CONCERNED:
            self.note(error, decision)
        return None

    def again(self, name: str, error: BaseException, delay_s: float) -> None:
        """The next attempt begins, *delay_s* seconds after *error*."""
        self.attempt += 1
        BUS.publish(
            TransactionRetried(
                database=name, attempt=self.attempt, delay_s=round(delay_s, 3), cause=said(error)
            )
        )

    def succeeded(self) -> None:
        """The last attempt went well: its request is not charged any more with those before."""
        request = REQUEST.get()
        if self._charged and request is not None:
            ledger = request.ledger
            if any(ledger.error is one for one in self._charged):
                ledger.fault = ledger.error = ledger.lost = ledger.read_only = None
        self._charged.clear()

    def patience(self, database: Database) -> float | None:
        """How many seconds the next attempt may wait for *database*; None: for ever."""
        left = self._deadline_at - monotonic()
        patience = database.patience_s
        request = REQUEST.get()
        if patience is not None and request is not None and request.kind == "http":
            patience -= request.held_for
        if patience is None:
            return None if left == NEVER else max(0.0, left)
        return max(0.0, min(left, patience))

    def _decide(self, ended: Ended, error: Exception, database: Database | None) -> float | str:
        """Seconds to wait, or why there is no further attempt."""
        failure = Failure(
            attempt=self.attempt,
            concerned=ended.unmarked or passes(ended.fault, ours=ended.ours),
            forbidden=_forbidden(error),
        )
        if failure.concerned and not failure.forbidden and _is_for_the_door(database):
            return AWAY
        decision = after_failure(self._retry, failure, monotonic(), self._deadline_at, _DICE)
        if isinstance(decision, GiveUp):
            return decision
        if is_contention(ended.fault) or ended.unmarked or PROCESS_BUDGET.take():
            return decision.after
        return GiveUp.BUDGET

    def _remember_charge(self) -> None:
        error = _charge()
        if error is not None and error is not self._charged_before:
            self._charged.append(error)

    def note(self, error: BaseException, why: str) -> None:
        """Say on *error* how often it was attempted, and why not again."""
        times = "once" if self.attempt == 1 else f"{self.attempt} times"
        took = monotonic() - self._began
        error.add_note(f"transaction: attempted {times} in {took:.2f} s; not again: {why}")


def _charge() -> BaseException | None:
    """What the request under way is charged with."""
    request = REQUEST.get()
    return None if request is None else request.ledger.error


def _is_for_the_door(database: Database | None) -> bool:
    """Whether the whole request had better be run again: it holds less while it waits at the door."""
    request = REQUEST.get()
    return database is not None and database.away and request is not None and request.may_run_again()


def _forbidden(error: BaseException) -> bool:
    """Whether *error*, or what it was raised from, asks not to be attempted again."""
    one: BaseException | None = error
    for _ in range(16):
        if one is None:
            return False
        if getattr(one, "do_not_retry", False) is True:
            return True
        one = one.__cause__
    return False


def on_a_loop() -> bool:
    """Whether an event loop runs in this thread: waiting here would stop all that it serves."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
