"""A worker on a journal in memory, an application that does as it is told, and time that jumps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from journal_words import a_new, created
from memory_journal import MemoryJournal

from holdfast.events import Bus, Event
from holdfast.work.attempt import Ended
from holdfast.work.drain import Drain, Rules
from holdfast.work.entry import Entry, Holder
from jumping import JumpingClock, run

US = Holder("us", "here", 1, 0.0)
THEM = Holder("them", "there", 2, 0.0)


class DrainStage:
    """`does` answers for the application; `ran` are the numbers of the entries it was given, in order."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.clock = JumpingClock()
        self.journal = MemoryJournal()
        self.ready = True
        self.ran: list[int] = []
        self.at_once: list[int] = []
        self.most_at_once = 0
        self.does: Callable[[Entry], Awaitable[Ended]] | None = None
        self.told: list[Event] = []
        bus = Bus()
        bus.subscribe(self.told.append)
        self.drain = Drain(
            self.journal, self._run, lambda: self.ready, rules, bus=bus, clock=self.clock, holder=US
        )

    def accepts(self, *orders: str, **changes: Any) -> None:
        """One entry for each of *orders*."""
        for order in orders:
            number = len(self.journal.entries) + 1
            self.journal.accept(a_new(f"op-{number}", order=order, **changes))

    def of(self, kind: type[Event]) -> list[Any]:
        return [one for one in self.told if isinstance(one, kind)]

    def states(self) -> list[str]:
        return [self.journal.state(number) for number in sorted(self.journal.entries)]

    def over(self) -> bool:
        return not {"pending", "running"} & set(self.states())

    def play(self, story: Coroutine[Any, Any, Any]) -> Any:
        """The worker runs while *story* does; what that returns."""

        async def played() -> Any:
            self.drain.start()
            try:
                return await story
            finally:
                await self.drain.stop(1.0)

        return run(self.clock, played())

    async def _run(self, entry: Entry) -> Ended:
        self.ran.append(entry.number)
        self.at_once.append(entry.number)
        self.most_at_once = max(self.most_at_once, len(self.at_once))
        try:
            return created() if self.does is None else await self.does(entry)
        finally:
            self.at_once.remove(entry.number)
