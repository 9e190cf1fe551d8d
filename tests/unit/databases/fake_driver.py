"""A database without a server: a `Driver` and its `Session`s that answer, refuse or fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import Enum, auto


class Mode(Enum):
    """What the fake server does with whoever comes."""

    ANSWERS = auto()
    REFUSES = auto()
    SILENT = auto()
    STARTS_UP = auto()  # gives its byte, lets nobody in


class FakeSession:
    """A connection to the fake server; it is lost for good when the server refused meanwhile."""

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self.pings = 0
        self.lost = False
        self.closed = False
        self._asking: set[asyncio.Task[None]] = set()

    async def ping(self) -> None:
        self.pings += 1
        if self.closed or self.lost:
            raise ConnectionResetError("the connection is closed")
        await self._driver.answer()

    async def takes_writes(self) -> bool:
        await self._driver.answer()
        return self._driver.writable

    async def waiting(self, backends: Iterable[int]) -> dict[int, float]:
        asking = asyncio.ensure_future(self._driver.answer())
        self._asking.add(asking)
        try:
            await asyncio.wait([asking])
        finally:
            self._asking.discard(asking)
            asking.cancel()
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        await asking
        asked = list(backends)
        self._driver.asked.append(asked)
        return {
            one: seconds for one, seconds in self._driver.waiting.items() if one in self._driver.asked[-1]
        }

    async def close(self) -> None:
        """Whoever still asks on it gets an error."""
        self.closed = True
        for asking in self._asking:
            asking.cancel()


class FakeDriver:
    """A `Driver` on a server that is told what to do; `latency` is that of one answer, in seconds."""

    library = "fake"
    can_knock = True

    def __init__(self, *, networked: bool = True, provisional: bool = False, size: int = 5) -> None:
        self.networked = networked
        self.provisional = provisional
        self.latency = 0.0
        self.knocks = 0
        self.logins = 0
        self.under_way = 0
        self.most_under_way = 0
        self.sessions: list[FakeSession] = []
        self.waiting: dict[int, float] = {}  # processes of the server that wait for us, and how long
        self.asked: list[list[int]] = []
        self.size = size
        self.writable = True
        self._mode = Mode.ANSWERS
        self._changed = asyncio.Event()

    @property
    def mode(self) -> Mode:
        return self._mode

    def turn(self, mode: Mode) -> None:
        """From now on the server does so; to those who wait, too."""
        self._mode = mode
        if mode is Mode.REFUSES:
            for session in self.sessions:
                session.lost = True
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def answer(self, login: bool = False) -> None:
        """Wait for the server's answer; what was sent into silence stays unanswered for good."""
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self._mode is Mode.SILENT:
                while self._mode is not Mode.REFUSES:
                    await self._changed.wait()
            if self.latency:
                await asyncio.sleep(self.latency)
            if self._mode is Mode.REFUSES:
                raise ConnectionRefusedError("nobody listens")
            if login and self._mode is Mode.STARTS_UP:
                raise ConnectionRefusedError("the database system is starting up")
        finally:
            self.under_way -= 1

    async def knock(self) -> None:
        self.knocks += 1
        await self.answer()

    async def open(self) -> FakeSession:
        self.logins += 1
        await self.answer(login=True)
        self.sessions.append(FakeSession(self))
        return self.sessions[-1]

    def crowded(self) -> bool:
        return False

    def pool(self) -> dict[str, int]:
        return {"size": self.size, "idle": self.size, "active": 0, "waiting": 0, "max": self.size}
