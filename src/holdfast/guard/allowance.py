"""The retry budget that calls share; its bucket is changed here only, under its lock."""

from __future__ import annotations

import threading

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.policy.budget import Budget, full, spend


class RetryBudget:
    """Lets retries through as far as *rules* allow for the traffic of all guards that share it.

    Guards count their calls in `calls` with no lock: a lost count is a tenth of a retry.
    """

    __slots__ = ("_bucket", "_lock", "_monotonic", "calls", "rules")

    def __init__(self, rules: Budget | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.rules = Budget() if rules is None else rules
        self.calls = 0
        self._monotonic = clock.monotonic
        self._lock = threading.Lock()
        self._bucket = full(self.rules, 0, self._monotonic())

    def take(self) -> bool:
        """Whether one more retry may go; it is counted if so."""
        with self._lock:
            self._bucket, granted = spend(self.rules, self._bucket, self.calls, self._monotonic())
        return granted


PROCESS_BUDGET = RetryBudget()
