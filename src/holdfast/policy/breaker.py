"""The circuit breaker: three states, and one pure step for everything that can happen to a call.

    Closed    --too many failures-->           Open      calls are refused
    Open      --reset_after, next call-->      HalfOpen  `trials` calls are let out
    HalfOpen  --as many successes-->           Closed
    HalfOpen  --one failure-->                 Open
    any       --a check succeeded-->           Closed

Law 1: a result is judged only in the state its call was sent in (same `generation`): what was sent
       while the circuit was closed cannot reopen a half-open one, nor close it.
Law 2: no state lasts without calls being let out: an open circuit ends at `until`, and trials that
       never come back lose their places at `until` as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from holdfast.policy.matching import On

BUCKETS = 10  # a sliding window slides by a tenth of its length
TRIAL_S = 1.0  # how soon to ask again while trials are out: their verdict is near


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a circuit opens, and how it closes again. All times in seconds.

    Opens at `failures` failures in a row (None: never for that reason), or when, of at least
    `least` calls in the last `window_s`, `failure_ratio` failed or `slow_ratio` took `slow_after`
    or longer. Stays open for `reset_after`, then lets out `trials` calls, all of which must succeed.
    Counts what `on` names: exception types, or a predicate. Raises ValueError for impossible rules.
    """

    failures: int | None = 5
    reset_after: float = 60.0
    trials: int = 1
    on: On = Exception
    failure_ratio: float | None = None
    slow_ratio: float | None = None
    slow_after: float | None = None
    window_s: float = 30.0
    least: int = 20

    def __post_init__(self) -> None:
        for name in ("failures", "trials", "least"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"Breaker {name} is {count}; give 1 or more")
        for name in ("reset_after", "window_s", "slow_after"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < float("inf"):
                raise ValueError(f"Breaker {name} is {seconds}; give seconds, more than 0")
        for name in ("failure_ratio", "slow_ratio"):
            ratio = getattr(self, name)
            if ratio is not None and not 0 < ratio <= 1:
                raise ValueError(f"Breaker {name} is {ratio}; give a part of 1, as 0.5")
        if (self.slow_ratio is None) != (self.slow_after is None):
            raise ValueError("Breaker slow_ratio and slow_after need each other; give both or neither")

    @property
    def windowed(self) -> bool:
        """Whether every call must be counted, not only failures in a row."""
        return self.failure_ratio is not None or self.slow_ratio is not None


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls that ended in one tenth of the window: `slot` numbers it on the time line."""

    slot: int
    calls: int = 0
    failed: int = 0
    slow: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """Calls flow; `failures` of them failed in a row."""

    generation: int = 0
    failures: int = 0
    window: tuple[Tally, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Calls are refused until `until`; `failures` opened it."""

    generation: int
    until: float
    failures: int


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """`out` trials are under way, `good` came back well; `until` then their places are kept."""

    generation: int
    until: float
    failures: int
    out: int
    good: int = 0


State = Closed | Open | HalfOpen


@dataclass(frozen=True, slots=True)
class Refusal:
    """The call may not go; asking again makes sense `retry_after` seconds from now."""

    retry_after: float


def admit(rules: Breaker, state: State, now: float) -> State | Refusal:
    """A call asks to go: the state it is sent in, which is the state from now on, or a refusal."""
    match state:
        case Closed():
            return state
        case Open(generation, until, failures):
            if now < until:
                return Refusal(until - now)
            return HalfOpen(generation + 1, now + rules.reset_after, failures, out=1)
        case HalfOpen(generation, until, failures, out, good):
            if out + good < rules.trials:
                return replace(state, out=out + 1)
            if now < until:
                return Refusal(min(TRIAL_S, until - now))
            return HalfOpen(generation + 1, now + rules.reset_after, failures, out=1)
        case _:
            assert_never(state)


def succeeded(rules: Breaker, sent_in: State, state: State, now: float, took: float) -> State:
    """A call that was sent in *sent_in* has succeeded after *took* seconds; *state* is the state now."""
    if _is_late(sent_in, state):
        return state
    slow = rules.slow_after is not None and took >= rules.slow_after
    match state:
        case Closed():
            return _judge(
                rules, _counted(rules, replace(state, failures=0), now, failed=False, slow=slow), now
            )
        case HalfOpen() if slow:
            return Open(state.generation + 1, now + rules.reset_after, state.failures + 1)
        case HalfOpen(out=out, good=good) if good + 1 < rules.trials:
            return replace(state, out=out - 1, good=good + 1)
        case HalfOpen():
            return Closed(state.generation + 1)
        case Open():
            return state
        case _:
            assert_never(state)


def failed(rules: Breaker, sent_in: State, state: State, now: float, took: float) -> State:
    """A call that was sent in *sent_in* has failed in a way that counts, after *took* seconds."""
    if _is_late(sent_in, state):
        return state
    match state:
        case Closed(failures=failures):
            slow = rules.slow_after is not None and took >= rules.slow_after
            counted = _counted(rules, replace(state, failures=failures + 1), now, failed=True, slow=slow)
            return _judge(rules, counted, now)
        case HalfOpen(failures=failures):
            return Open(state.generation + 1, now + rules.reset_after, failures + 1)
        case Open():
            return state
        case _:
            assert_never(state)


def released(sent_in: State, state: State) -> State:
    """A call that was sent in *sent_in* ended without a verdict, as by cancellation: its place is free."""
    if _is_late(sent_in, state):
        return state
    match state:
        case HalfOpen(out=out):
            return replace(state, out=out - 1)
        case Closed() | Open():
            return state
        case _:
            assert_never(state)


def check_succeeded(state: State) -> State:
    """A look at the other side's health, outside the calls, went well: calls flow at once."""
    match state:
        case Closed(failures=0):
            return state
        case Closed() | Open() | HalfOpen():
            return Closed(state.generation + 1)
        case _:
            assert_never(state)


def _is_late(sent_in: State, state: State) -> bool:
    return sent_in.generation != state.generation


def _counted(rules: Breaker, state: Closed, now: float, *, failed: bool, slow: bool) -> Closed:
    if not rules.windowed:
        return state
    slot = int(now / rules.window_s * BUCKETS)
    recent = tuple(one for one in state.window if one.slot > slot - BUCKETS)
    latest = recent[-1] if recent and recent[-1].slot >= slot else Tally(slot)
    before = recent[:-1] if recent and latest is recent[-1] else recent
    tally = Tally(latest.slot, latest.calls + 1, latest.failed + failed, latest.slow + slow)
    return replace(state, window=(*before, tally))


def _judge(rules: Breaker, state: Closed, now: float) -> Closed | Open:
    in_a_row = rules.failures is not None and state.failures >= rules.failures
    if in_a_row or _too_many(rules, state.window):
        failures = max(state.failures, sum(one.failed for one in state.window))
        return Open(state.generation + 1, now + rules.reset_after, failures)
    return state


def _too_many(rules: Breaker, window: tuple[Tally, ...]) -> bool:
    calls = sum(one.calls for one in window)
    if calls < rules.least:
        return False
    if rules.failure_ratio is not None and sum(one.failed for one in window) >= rules.failure_ratio * calls:
        return True
    return rules.slow_ratio is not None and sum(one.slow for one in window) >= rules.slow_ratio * calls
