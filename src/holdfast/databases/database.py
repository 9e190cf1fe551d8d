"""One database as holdfast knows it: its state, its connections, and who waits for it.

`away` and `state` are plain attributes that hooks and doors read from any thread; only the watch
(one thread) writes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import Protocol

from holdfast.clock import SYSTEM_CLOCK, Clock
from holdfast.databases.link import Link, Opening
from holdfast.databases.markers import Row, Written
from holdfast.databases.monitor import (
    NAMES,
    Broken,
    Connected,
    Disconnected,
    Recovering,
    Report,
    State,
    Suspect,
    WriteRefused,
)

_OWN_S = 1.0  # after the server has said that it takes writes


class Session(Protocol):
    """A connection of the watch's own."""

    async def ping(self) -> None:
        """Ask the server for an answer; raises what the driver raises."""
        ...

    async def takes_writes(self) -> bool:
        """Whether a transaction of it may write. Raises what the driver raises."""
        ...

    async def waiting(self, backends: Iterable[int]) -> dict[int, float]:
        """Which of the server's processes of those numbers wait for their client, and for how many seconds.

        Those that work, and those it does not know, are left out. Raises what the driver raises.
        """
        ...

    async def close(self) -> None:
        """End it; never raises."""
        ...


class Driver(Protocol):
    """What a library's file gives the watch. All of it runs on the watch's loop."""

    library: str
    networked: bool  # whether there is a connection that can be lost
    provisional: bool  # stands in until the application's own engine is found

    @property
    def can_knock(self) -> bool:
        """Whether a byte can be had without logging in."""
        ...

    async def knock(self) -> None:
        """Get one byte out of the server on a fresh connection, without logging in."""
        ...

    async def open(self) -> Session:
        """Log in on a fresh connection, as the application would."""
        ...

    def pool(self) -> dict[str, int]:
        """Figures of the application's pool: size, idle, active, waiting, max."""
        ...

    def crowded(self) -> bool:
        """Whether more threads wait for the pool than is good. From any thread."""
        ...


class MarkerStore(Protocol):
    """Where a database keeps the markers of keyed work, and the first answers beside them."""

    usable: bool  # it is there
    off: bool  # it will not be

    async def prepare(self) -> bool:
        """Make it, if it is not there; whether it is. On the watch's loop."""
        ...

    async def look(self, keys: list[str]) -> dict[str, Row]:
        """What is kept under *keys*. On the server's loop."""
        ...

    async def keep(self, answers: list[Written]) -> None:
        """Keep *answers*; those that are there stay. On the server's loop."""
        ...

    def ask_afresh(self) -> None:
        """What is asked next is asked on a fresh connection. On the server's loop."""
        ...

    async def close(self) -> None:
        """Let go of the connection. On the server's loop."""
        ...

    def turn_off(self, cause: str) -> None:
        """Keep nothing from now on."""
        ...

    def spoilt_by(self, error: Exception) -> bool:
        """Whether *error* says that nothing can be kept, rather than not at this moment."""
        ...


class Database:
    """One database: several engines to the same place share it."""

    def __init__(self, name: str, target: str, driver: Driver, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self.target = target  # redacted
        self.drivers: list[Driver] = [driver]
        self.clock = clock
        self.state: State = Connected(0, clock.monotonic())
        self.away = False
        self.generation = 0
        self.heard_at = 0.0  # monotonic: when something last completed
        self.vouched_at = 0.0  # monotonic: when a knock or probe was last answered
        self.recovered_at = 0.0
        self.latency_s: float | None = None  # of the latest ping
        self.last_error: str | None = None
        self.patience_s: float | None = None  # how long work outside requests waits; None: for ever
        self.links: dict[int, Link] = {}
        self.connecting: dict[int, Opening] = {}
        self.doubted = False  # a loss was reported and the watch has not judged it yet
        self.markers: MarkerStore | None = None
        self.takes_writes = True
        self.refusing_since = 0.0  # monotonic, while it takes none
        self._writable_at = 0.0  # monotonic: since when, after it had not
        self.dismissed = False  # we are stopping: nobody waits any more
        self._listeners: tuple[Callable[[Database], None], ...] = ()
        self._waiters: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._tell: Callable[[Database, Report], None] | None = None

    # ---- what is known ------------------------------------------------------------------------

    @property
    def driver(self) -> Driver:
        """The first one adopted: it does the probing."""
        return self.drivers[0]

    @property
    def settled(self) -> bool:
        """Whether requests may go: it answers, and nothing speaks against it."""
        return not self.doubted and isinstance(self.state, Connected | Recovering)

    @property
    def state_name(self) -> str:
        """`connected`, `suspect`, `disconnected` or `recovering`."""
        return NAMES[type(self.state)]

    @property
    def away_since(self) -> float | None:
        """The monotonic moment the outage began, or None."""
        return self.state.since if isinstance(self.state, Disconnected) else None

    @property
    def cause(self) -> str:
        """What speaks against it, redacted; empty when nothing does."""
        return self.state.cause if isinstance(self.state, Suspect | Disconnected) else ""

    def known_at(self) -> float:
        """The monotonic moment of the latest sign of life."""
        return max(self.heard_at, self.vouched_at)

    def crowded(self) -> bool:
        """Whether one of its pools has more threads waiting than is good: no request should follow them."""
        return any(driver.crowded() for driver in self.drivers)

    def pool(self) -> dict[str, int]:
        """The figures of all its pools together."""
        total = {"size": 0, "idle": 0, "active": 0, "waiting": 0, "max": 0}
        for driver in self.drivers:
            for key, value in driver.pool().items():
                total[key] += value
        return total

    # ---- what the hooks report ------------------------------------------------------------------

    def broken(self, cause: str) -> None:
        """A connection was lost or refused. From any thread."""
        self.last_error = cause
        if self._tell is not None:
            self.doubted = True
            self._tell(self, Broken(cause))

    def refuses_writes(self, link: Link | None) -> bool:
        """A write on *link* was refused, because its server takes none (25006). From any thread.

        Whether that will pass: not when nobody watches, nor when a connection that is younger than the
        server's last word is refused a moment after it.
        """
        if self._tell is None:
            if link is not None:
                link.abort()  # the next one may lead to a server that writes
            return False
        if self.takes_writes:
            young = link is not None and link.generation == self.generation
            if young and self.clock.monotonic() - self._writable_at < _OWN_S:
                return False
            self.takes_writes, self.refusing_since = False, self.clock.monotonic()
            self._tell(self, WriteRefused())
        return True

    # ---- those who wait -------------------------------------------------------------------------

    def listen(self, listener: Callable[[Database], None]) -> Callable[[], None]:
        """Call *listener* after every change of state, in the watch's thread."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return stop

    def when_settled(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake* once, in the watch's thread, when requests may go; the result takes it back.

        Called at once, in the caller's thread, when they may go already.
        """
        return self._when(lambda: self.settled or self.dismissed, self._waiters, wake)

    def when_writable(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake* once when it takes writes, as `when_settled`; the result takes it back."""
        return self._when(lambda: self.takes_writes, self._writers, wake)

    def _when(
        self, true: Callable[[], bool], waiting: dict[int, Callable[[], None]], wake: Callable[[], None]
    ) -> Callable[[], None]:
        key = id(wake)
        with self._lock:
            waits = not true()
            if waits:
                waiting[key] = wake
        if not waits:
            wake()

        def forget() -> None:
            with self._lock:
                waiting.pop(key, None)

        return forget

    def writes_again(self, now: float) -> None:
        """It takes writes. Only the watch calls this."""
        with self._lock:
            self.takes_writes, self._writable_at = True, now
            woken = list(self._writers.values())
            self._writers.clear()
        for wake in woken:
            wake()

    def wait_settled(self, timeout: float | None) -> bool:
        """Block this thread until requests may go; False when *timeout* seconds were not enough."""
        give_up_at = None if timeout is None else monotonic() + timeout
        while not self._decided():
            woken = threading.Event()
            forget = self.when_settled(woken.set)
            try:
                in_time = woken.wait(None if give_up_at is None else give_up_at - monotonic())
            finally:
                forget()
            if not in_time:
                break
        return self.settled

    async def until_settled(self, timeout: float | None) -> bool:
        """The same for a task of any loop."""
        loop = asyncio.get_running_loop()
        give_up_at = None if timeout is None else monotonic() + timeout
        while not self._decided():
            woken = loop.create_future()
            forget = self.when_settled(partial(wake, loop, woken))
            try:
                left = None if give_up_at is None else max(0.0, give_up_at - monotonic())
                await asyncio.wait([woken], timeout=left)
            finally:
                forget()
            if not woken.done():
                break
        return self.settled

    def _decided(self) -> bool:
        """Whether nobody needs to wait. Losses come in swarms: there for a moment is not enough."""
        return self.settled or self.dismissed

    def dismiss(self) -> None:
        """We are stopping: whoever waits goes now and finds the database as it is."""
        with self._lock:
            self.dismissed = True
            woken = list(self._waiters.values())
            self._waiters.clear()
        for wake in woken:
            wake()

    def forget(self, driver: Driver) -> None:
        """Its application has dropped what *driver* stands for: what is left of its connections is ended."""
        self.drivers = [one for one in self.drivers if one is not driver]
        for key, link in list(self.links.items()):
            if link.driver is driver:
                self.links.pop(key, None)
                link.abort()

    def end_waits(self) -> None:
        """End what anybody waits for on its connections: statements, and logins. From any thread."""
        for link in list(self.links.values()):
            # One that is out may be read from past us; an idle one of a dead network would be closed
            # politely.
            if link.began or link.out or self.away:
                link.abort()
        for opening in list(self.connecting.values()):
            opening.end()

    # ---- the watch's side -----------------------------------------------------------------------

    def watched_by(self, tell: Callable[[Database, Report], None] | None) -> None:
        """From now on reports go to *tell*; None: nobody watches, nothing is ever away."""
        self._tell = tell
        if tell is None and not self.takes_writes:
            self.writes_again(self.clock.monotonic())
        if tell is None and not self.settled:
            self.doubted = False
            self.become(Connected(self.state.round + 1, self.clock.monotonic()))

    def become(self, state: State) -> None:
        """Take on *state* and tell everyone whom it concerns. Only the watch calls this.

        A listener that raises is reported to the last resort: it must not end the probing.
        """
        with self._lock:
            self.state = state
            self.away = isinstance(state, Disconnected)
            woken = list(self._waiters.values()) if self.settled else []
            if woken:
                self._waiters.clear()
        for wake in woken:
            wake()
        for listener in self._listeners:
            try:
                listener(self)
            except Exception:  # noqa: BLE001 - a broken listener must not break what it listens to
                traceback.print_exc(file=sys.__stderr__)


def wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
    """Settle *woken*, which a task of *loop* awaits. From any thread."""
    with contextlib.suppress(RuntimeError):  # the waiter's loop has ended meanwhile
        loop.call_soon_threadsafe(_settle, woken)


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
