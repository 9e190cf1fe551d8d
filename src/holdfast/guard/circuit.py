"""A circuit with a name: the breaker's state has its owner here, and each change is told.

The lock is held for the pure step only, never during the guarded call and never while telling.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.events import BUS, BreakerChanged
from holdfast.policy import breaker as step
from holdfast.policy.breaker import Breaker, Closed, HalfOpen, Open, Refusal, State
from holdfast.policy.matching import concerns

_NAMES = {Closed: "closed", Open: "open", HalfOpen: "half_open"}


class Refused(Exception):  # noqa: N818 - it says what happened, and nothing went wrong on this side
    """The call was not attempted; asking again makes sense `retry_after` seconds from now."""

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name, retry_after)
        self.name = name
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.name!r} was not called: its circuit is open; ask again in {self.retry_after:.2f} s"


class Circuit:
    """The breaker *rules* at work on calls to one thing. Safe from any thread.

    `restless` is False exactly when a success would change nothing and need not be reported.
    """

    __slots__ = ("_lock", "_monotonic", "name", "restless", "rules", "state")

    def __init__(self, name: str, rules: Breaker, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self.rules = rules
        self.state: State = Closed()
        self.restless = rules.windowed
        self._monotonic = clock.monotonic
        self._lock = threading.Lock()

    def admit(self) -> State:
        """Let a call go: the state it is sent in, to be given back with its result. Raises Refused."""
        now = self._monotonic()
        answer = step.admit(self.rules, self.state, now)  # the common refusal takes no lock
        if not isinstance(answer, Refusal):
            with self._lock:
                before, answer = self.state, step.admit(self.rules, self.state, now)
                if not isinstance(answer, Refusal):
                    self._become(answer)
        if isinstance(answer, Refusal):
            raise Refused(self.name, answer.retry_after)
        self._tell(before, answer)
        return answer

    def succeeded(self, sent_in: State, began: float) -> None:
        """A call sent in *sent_in* at *began* (monotonic) has succeeded."""
        now = self._monotonic()
        self._step(lambda state: step.succeeded(self.rules, sent_in, state, now, now - began))

    def ended(self, sent_in: State, error: BaseException, began: float) -> None:
        """A call sent in *sent_in* at *began* has raised *error*: a failure if the rules say so."""
        if isinstance(error, Refused) or not concerns(self.rules.on, error):
            self._step(lambda state: step.released(sent_in, state))
            return
        now = self._monotonic()
        self._step(lambda state: step.failed(self.rules, sent_in, state, now, now - began))

    def check_succeeded(self) -> None:
        """A look at the other side's health went well: close at once."""
        self._step(step.check_succeeded)

    def _step(self, change: Callable[[State], State]) -> None:
        with self._lock:
            before = self.state
            after = change(before)
            self._become(after)
        self._tell(before, after)

    def _become(self, state: State) -> None:
        self.restless = self.rules.windowed or not isinstance(state, Closed) or state.failures > 0
        self.state = state

    def _tell(self, before: State, after: State) -> None:
        if type(before) is not type(after):
            failures = after.failures
            BUS.publish(BreakerChanged(breaker=self.name, state=_NAMES[type(after)], failures=failures))
