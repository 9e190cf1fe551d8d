"""A journal in memory: keeps every promise of `Journal` but that of outliving the process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from holdfast.work.entry import Backlog, Entry, Holder, New, Outcome, State
from holdfast.work.journal import LET_GO, JournalError, JournalFullError, no_room_told

T = TypeVar("T")
WAITING = (State.PENDING, State.RUNNING)


class MemoryJournal:
    """Settles each call at once, unless told to fail or to be silent; `calls` are their names in order."""

    place = "memory"

    def __init__(self, max_bytes: int = 1 << 20) -> None:
        self.max_bytes = max_bytes
        self.entries: dict[int, Entry] = {}
        self.calls: list[str] = []
        self.fails: dict[str, Exception] = {}  # by the name of the call, until taken out
        self.silent: dict[str, list[tuple[Future[Any], Callable[[], Any]]]] = {}
        self.closed = False
        self.gone: set[str] = set()  # incarnations whose process has ended
        self._numbers = 0
        self._lock = threading.RLock()

    # ---- what a test does -----------------------------------------------------------------------

    def hush(self, name: str) -> None:
        """Leave calls of that name unanswered until `speak`."""
        self.silent[name] = []

    def speak(self, name: str) -> None:
        for future, do in self.silent.pop(name):
            self._settle(future, do)

    def state(self, number: int) -> str:
        return self.entries[number].state.value

    # ---- the protocol ---------------------------------------------------------------------------

    def accept(self, new: New) -> Future[int]:
        def do() -> int:
            for number, entry in self.entries.items():
                if entry.new.name == new.name:
                    return number
            self._make_room(new.size)
            self._numbers += 1
            self.entries[self._numbers] = Entry(self._numbers, new)
            return self._numbers

        return self._do("accept", do)

    def lease(self, most: int, holder: Holder, until: float, now: float) -> Future[list[Entry]]:
        def do() -> list[Entry]:
            given: list[Entry] = []
            seen: set[str] = set()
            for number, entry in sorted(self.entries.items()):
                if entry.state not in WAITING or entry.new.order in seen or len(given) == most:
                    continue
                seen.add(entry.new.order)
                if self._free(entry, now):
                    taken = entry.state is State.RUNNING and entry.holder != holder
                    leased = replace(
                        entry,
                        state=State.RUNNING,
                        holder=holder,
                        leased_until=until,
                        interruptions=entry.interruptions + taken,
                    )
                    self.entries[number] = leased
                    given.append(leased)
            return given

        return self._do("lease", do)

    def renew(self, numbers: Sequence[int], holder: Holder, until: float) -> Future[list[int]]:
        def do() -> list[int]:
            held = [number for number in numbers if self._held(number, holder)]
            for number in held:
                self.entries[number] = replace(self.entries[number], leased_until=until)
            return held

        return self._do("renew", do)

    def finish(self, number: int, holder: Holder, outcome: Outcome, now: float) -> Future[bool]:
        def do() -> bool:
            if not self._held(number, holder):
                return False
            waits = outcome.state is State.PENDING
            self.entries[number] = replace(
                self.entries[number],
                state=outcome.state,
                answer=outcome.answer,
                attempts=outcome.attempts,
                interruptions=outcome.interruptions,
                cause=outcome.cause,
                not_before=now + outcome.delay_s if waits else 0.0,
                finished_at=None if waits else now,
                holder=None,
            )
            return True

        return self._do("finish", do)

    def find(self, name: str) -> Future[Entry | None]:
        return self._do(
            "find", lambda: next((one for one in self.entries.values() if one.new.name == name), None)
        )

    def backlog(self) -> Future[Backlog]:
        def do() -> Backlog:
            waiting = [one for one in self.entries.values() if one.state in WAITING]
            return Backlog(
                len(waiting),
                self._stored(),
                min((one.new.journaled_at for one in waiting), default=None),
                dict(Counter(one.state.value for one in self.entries.values())),
            )

        return self._do("backlog", do)

    def listed(self, state: State | None, most: int, after: int = 0) -> Future[list[Entry]]:
        return self._do(
            "listed",
            lambda: [
                one
                for number, one in sorted(self.entries.items())
                if number > after and state in (None, one.state)
            ][:most],
        )

    def entry(self, number: int) -> Future[Entry | None]:
        return self._do("entry", lambda: self.entries.get(number))

    def retry(self, number: int) -> Future[bool]:
        def do() -> bool:
            entry = self.entries.get(number)
            if entry is None or entry.state not in (State.FAILED, State.DEAD):
                return False
            self.entries[number] = Entry(number, entry.new, cause=entry.cause)
            return True

        return self._do("retry", do)

    def drop(self, number: int) -> Future[bool]:
        def do() -> bool:
            entry = self.entries.get(number)
            if entry is None or entry.state is State.RUNNING:
                return False
            del self.entries[number]
            return True

        return self._do("drop", do)

    def prune(self, before: float) -> Future[int]:
        def do() -> int:
            old = [
                number
                for number, one in self.entries.items()
                if one.state in (State.DONE, State.FAILED) and (one.finished_at or before) < before
            ]
            for number in old:
                del self.entries[number]
            return len(old)

        return self._do("prune", do)

    def close(self) -> None:
        self.closed = True

    # ---- inside ---------------------------------------------------------------------------------

    def _do(self, name: str, do: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self.calls.append(name)
        if name in self.silent:
            self.silent[name].append((future, do))
            return future
        self._settle(future, do, self.fails.get(name))
        return future

    def _settle(self, future: Future[T], do: Callable[[], T], fails: Exception | None = None) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            if fails is not None:
                raise fails
            with self._lock:
                future.set_result(do())
        except JournalError as error:
            future.set_exception(error)

    def _free(self, entry: Entry, now: float) -> bool:
        if entry.state is State.PENDING:
            return entry.not_before <= now
        holder = entry.holder
        return entry.leased_until <= now or (holder is not None and holder.incarnation in self.gone)

    def _held(self, number: int, holder: Holder) -> bool:
        entry = self.entries.get(number)
        return entry is not None and entry.state is State.RUNNING and entry.holder == holder

    def _stored(self) -> int:
        return sum(one.new.size for one in self.entries.values())

    def _make_room(self, size: int) -> None:
        missing = self._stored() + size - self.max_bytes
        finished = [one for state in LET_GO for one in self.entries.values() if one.state is state]
        if missing > sum(one.new.size for one in finished):
            raise JournalFullError(no_room_told(self.place, self._stored(), self.max_bytes, size))
        while missing > 0:
            oldest = finished.pop(0)
            del self.entries[oldest.number]
            missing -= oldest.new.size
