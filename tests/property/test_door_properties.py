"""The door under random schedules: nothing leaks, nobody starves (REQ-3, properties 19 and 20)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.asgi import door as module
from holdfast.asgi.body import Body
from holdfast.asgi.door import Door, Rules
from holdfast.asgi.line import Verdict
from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.databases.monitor import Connected, Disconnected, Recovering, Suspect
from holdfast.events import Bus
from holdfast.policy.window import FIRST, Usage

pytestmark = pytest.mark.slow
ROOM, POOL = 12, 6


class Clock:
    """Seconds that pass when a rule says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def usage(self) -> Usage:
        return Usage(self.now / 2, 0)

    def wall(self) -> float:
        return self.now


class Loop(asyncio.SelectorEventLoop):
    """A loop on such a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._ours = clock

    def time(self) -> float:
        return self._ours.now


class Pool:
    library = "fake"
    networked = False
    provisional = False

    async def knock(self) -> None: ...

    async def open(self) -> Any: ...

    crowd = False

    def crowded(self) -> bool:
        return self.crowd

    def pool(self) -> dict[str, int]:
        return {"size": 0, "idle": 0, "active": 0, "waiting": 0, "max": POOL}


class Visitor:
    """One request: its client, its task, and what became of it."""

    def __init__(self, number: int, now: float, deadline: float) -> None:
        self.number = number
        self.request = Request(str(number), "GET", "/", now, now + deadline)
        self.client: asyncio.Queue[Any] = asyncio.Queue()
        self.client.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        self.body = Body(self.request, self.client.get, 100)
        self.task: asyncio.Task[Verdict]
        self.left = False

    @property
    def verdict(self) -> Verdict | None:
        return self.task.result() if self.task.done() and not self.task.cancelled() else None


class DoorSchedule(RuleBasedStateMachine):
    """Requests come, leave and are cancelled; the database goes and comes back; answers return."""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.real = (module.monotonic, module.usage)
        module.monotonic, module.usage = self.clock.monotonic, self.clock.usage
        self.loop = Loop(self.clock)
        self.database = Database("main", "db", Pool(), self.clock)
        rules = Rules(max_wait=10.0, max_waiting=ROOM, fail_fast_after=60.0)
        self.door = Door(rules, lambda *_: None, Bus())
        self.door.open_for([self.database], self.loop)
        self.visitors: list[Visitor] = []
        self.inside: list[Visitor] = []
        self.counted: set[int] = set()

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for one in self.visitors:
            one.task.cancel()
        self.turn()
        for one in self.visitors:
            one.body.close()
        self.turn()
        assert (self.door.waiting, self.door.waiting_inside) == (0, 0)
        self.loop.close()
        module.monotonic, module.usage = self.real

    def turn(self) -> None:
        async def turns() -> None:
            for _ in range(8):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        for one in self.visitors:
            if one.verdict is Verdict.GO and one.number not in self.counted:
                self.counted.add(one.number)
                self.inside.append(one)

    @property
    def waiting(self) -> list[Visitor]:
        return [one for one in self.visitors if not one.task.done()]

    @rule(entered=st.booleans(), deadline=st.sampled_from([2.0, 30.0]), before=st.sampled_from([0.0, 3.0]))
    def someone_comes(self, entered: bool, deadline: float, before: float) -> None:
        one = Visitor(len(self.visitors), self.clock.now - before, deadline + before)
        self.visitors.append(one)
        wait = self.door.wait(self.database, one.request, one.body, entered=entered)
        one.task = self.loop.create_task(wait)
        self.turn()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def someone_leaves(self, data) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        one.left = True
        one.client.put_nowait({"type": "http.disconnect"})
        self.turn()
        assert one.task.done()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), recovers=st.booleans())
    def someone_is_cancelled(self, data, recovers: bool) -> None:
        """Perhaps in the very turn in which the database comes back."""
        one = data.draw(st.sampled_from(self.waiting))
        if recovers:
            self.comes_back()
        one.task.cancel()
        self.turn()
        assert one.task.done()

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        self.turn()

    @rule()
    def threads_crowd_the_pool(self) -> None:
        self.database.driver.crowd = True
        self.turn()

    @rule()
    def they_have_gone(self) -> None:
        """Nobody tells; it is looked for."""
        self.database.driver.crowd = False
        self.clock.now += 0.02
        self.turn()

    @rule()
    def is_lost(self) -> None:
        since, state = self.clock.now, self.database.state
        if not isinstance(state, Disconnected):
            self.database.become(Disconnected(state.round + 1, since, "refused", attempts=1))
            self.turn()

    @rule()
    def is_doubted(self) -> None:
        state = self.database.state
        if isinstance(state, Connected | Recovering):
            self.database.become(Suspect(state.round + 1, self.clock.now, "reset", broken=True))
            self.turn()

    @rule()
    def recovers(self) -> None:
        self.comes_back()
        self.turn()

    def comes_back(self) -> None:
        now, state = self.clock.now, self.database.state
        self.database.become(Recovering(state.round + 1, now, lost_at=now, attempts=1))

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), answered=st.booleans())
    def an_answer_comes(self, data, answered: bool) -> None:
        self.inside.remove(data.draw(st.sampled_from(self.inside)))
        self.door.went(self.database, answered=answered)
        self.turn()

    @invariant()
    def the_counts_are_right(self) -> None:
        if not hasattr(self, "door"):
            return
        assert self.door.waiting == len(self.waiting)
        assert 0 <= self.door.waiting_inside <= self.door.waiting
        assert self.door.waiting <= 2 * ROOM * 5 // 4
        assert self.door.waiting_for("main") == len(self.waiting)

    @invariant()
    def turns_are_neither_leaked_nor_invented(self) -> None:
        if hasattr(self, "door"):
            queue = self.door._lines["main"]
            assert queue.going == len(self.inside)
            assert FIRST <= queue.window.width <= POOL
            assert queue.going <= POOL

    @invariant()
    def nobody_waits_too_long_and_nobody_goes_who_has_left(self) -> None:
        for one in getattr(self, "visitors", ()):
            if not one.task.done():
                assert self.clock.now <= one.request.deadline_at + 0.001
            assert not (one.left and one.verdict is Verdict.GO)

    @invariant()
    def whoever_may_go_goes(self) -> None:
        """Nobody starves: with the database settled, either none waits or the window is full."""
        if hasattr(self, "door") and self.database.settled and self.waiting and not self.database.crowded():
            queue = self.door._lines["main"]
            assert queue.going >= queue.window.width

    @invariant()
    def the_door_is_shut_while_the_database_is_away(self) -> None:
        """And open again once all is well: the fast path reads nothing else."""
        if hasattr(self, "door"):
            assert self.door.shut or not self.database.away
            well = self.database.settled and not self.waiting and not self.inside
            assert not (self.door.shut and well)


TestDoorSchedule = DoorSchedule.TestCase
TestDoorSchedule.settings = settings(max_examples=500, stateful_step_count=30, deadline=None)
