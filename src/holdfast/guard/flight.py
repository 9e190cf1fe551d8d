"""One guarded call that has met trouble: judged, counted and noted, the same for sync and async."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from random import Random

from holdfast.clock import Clock
from holdfast.events import BUS, RetryScheduled
from holdfast.guard.allowance import RetryBudget
from holdfast.guard.asked import do_not_retry, retry_after
from holdfast.guard.circuit import Circuit, Refused
from holdfast.policy.breaker import Open, State
from holdfast.policy.matching import On, concerns
from holdfast.policy.retry import Failure, GiveUp, Retry, after_failure


@dataclass(frozen=True, slots=True)
class Terms:
    """What a guard was told: its parts, shared by all its calls."""

    name: str
    timeout: float
    retry: Retry
    on: On
    circuit: Circuit
    budget: RetryBudget
    clock: Clock
    dice: Random


class Flight:
    """A call from its first failure on. Owned by the thread or task that makes the call."""

    __slots__ = ("_before", "_sent_at", "_sent_in", "attempt", "began", "deadline_at", "terms")

    def __init__(self, terms: Terms, sent_in: State, began: float, deadline_at: float) -> None:
        self.terms = terms
        self.began = began
        self.deadline_at = deadline_at
        self.attempt = 1
        self._before: float | None = None
        self._sent_in: State | None = sent_in  # None while no attempt is out
        self._sent_at = began

    def pause_after(self, error: BaseException) -> float | None:
        """Judge *error*: the seconds to wait before the next attempt, or None when there is none."""
        if not isinstance(error, Exception):
            return None  # a cancellation says nothing about the other side; `over` frees the place
        self._report(error)
        if self.terms.retry.attempts == 1:
            return None
        decision = self._decide(error)
        if isinstance(decision, GiveUp):
            self._note(error, decision)
            return None
        self._before = decision
        BUS.publish(
            RetryScheduled(
                guard=self.terms.name, attempt=self.attempt, delay_s=decision, cause=type(error).__qualname__
            )
        )
        return decision

    def again(self, error: BaseException) -> bool:
        """Begin the next attempt, unless the circuit has opened meanwhile."""
        try:
            self._sent_in = self.terms.circuit.admit()
        except Refused:
            self._note(error, GiveUp.OPEN)
            return False
        self.attempt += 1
        self._sent_at = self.terms.clock.monotonic()
        return True

    def succeeded(self) -> None:
        """The attempt under way went well."""
        sent_in, self._sent_in = self._sent_in, None
        assert sent_in is not None
        if self.terms.circuit.restless:
            self.terms.circuit.succeeded(sent_in, self._sent_at)

    def over(self, error: BaseException, *, timed_out: bool) -> TimeoutError | None:
        """The call ends with *error*: what to raise in its place if our own deadline ended it."""
        if not timed_out:
            self._report(error)
            return None
        allowed = self.deadline_at - self.began
        times = f"attempt {self.attempt} of {self.terms.retry.attempts}"
        late = TimeoutError(f"{self.terms.name!r} gave no answer within {allowed:.2f} s ({times})")
        self._report(late)
        return late

    def _report(self, error: BaseException) -> None:
        sent_in, self._sent_in = self._sent_in, None
        if sent_in is not None:
            self.terms.circuit.ended(sent_in, error, self._sent_at)

    def _decide(self, error: Exception) -> float | GiveUp:
        terms = self.terms
        failure = Failure(
            attempt=self.attempt,
            concerned=concerns(terms.on, error),
            before=self._before,
            retry_after=retry_after(error, terms.clock.wall()),
            forbidden=do_not_retry(error),
        )
        now = terms.clock.monotonic()
        decision = after_failure(terms.retry, failure, now, self.deadline_at, terms.dice)
        if isinstance(decision, GiveUp):
            return decision
        state = terms.circuit.state
        if isinstance(state, Open) and state.until > now + decision.after:
            return GiveUp.OPEN  # waiting would only delay the refusal
        return decision.after if terms.budget.take() else GiveUp.BUDGET

    def _note(self, error: BaseException, why: GiveUp) -> None:
        prefix = f"guard {self.terms.name!r}: "
        times = "once" if self.attempt == 1 else f"{self.attempt} times"
        took = self.terms.clock.monotonic() - self.began
        note = f"{prefix}attempted {times} in {took:.2f} s; not again: {why}"
        with suppress(Exception):  # an error that takes no notes is raised as it is
            kept = getattr(error, "__notes__", [])
            if isinstance(kept, list | tuple):
                # An exception object that is raised again and again must not gather notes.
                others = [one for one in kept if not (isinstance(one, str) and one.startswith(prefix))]
                error.__notes__ = [*others, note]
