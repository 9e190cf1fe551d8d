"""What the watch keeps for one database: its own session, the tasks that ask, and its knocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from holdfast.databases.database import Database, Session
from holdfast.databases.monitor import Disconnected, State

Answer = TypeVar("Answer")
AT_ONCE = 8  # knocks at one silent database that may be under way together


class Knocks:
    """Knocks at one silent door, several under way at once."""

    def __init__(self, knock: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._knock = knock
        self._open: list[asyncio.Task[None]] = []

    def __enter__(self) -> Knocks:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._open:
            task.cancel()

    async def heard(self, patience: float) -> bool:
        """Knock once more; whether any knock is answered within *patience* seconds.

        Raises what the first one that was refused raises; then the others are given up as well.
        """
        if len(self._open) >= AT_ONCE:
            self._open.pop(0).cancel()
        self._open.append(asyncio.ensure_future(self._knock()))
        done, _ = await asyncio.wait(self._open, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            return False
        for task in self._open:
            task.cancel()
        knocked, self._open = self._open, []
        await asyncio.gather(*knocked, return_exceptions=True)
        errors = [task.exception() for task in done if not task.cancelled()]
        if None not in errors:
            raise next((one for one in errors if one is not None), ConnectionAbortedError("knock given up"))
        return True


class Race(Generic[Answer]):
    """Several ways to one answer, under way at once; what is still out when it is left is ended."""

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Answer | None]] = set()

    def __enter__(self) -> Race[Answer]:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._open:
            task.cancel()

    def __bool__(self) -> bool:
        return bool(self._open)

    def enter(self, way: Coroutine[Any, Any, Answer | None]) -> None:
        """Try *way* as well."""
        self._open.add(asyncio.ensure_future(way))

    async def first(self, patience: float | None) -> Answer | None:
        """The first answer, if it comes within *patience* seconds. None: not yet, or a way led nowhere.

        Raises what a way raised.
        """
        done, self._open = await asyncio.wait(
            self._open, timeout=patience, return_when=asyncio.FIRST_COMPLETED
        )
        answers = [task.result() for task in done if task.exception() is None]
        for answer in answers:
            if answer is not None:
                return answer
        for task in done:
            task.result()
        return None


class Post:
    """What the watch keeps for one database: its own session, and the tasks that ask."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.session: Session | None = None
        self.beating: asyncio.Future[None] | None = None  # a question to `session`: one at a time
        self.asked_at = 0.0  # monotonic: when the server was last asked whom it works for
        self.let_in = 0.0  # monotonic: when our latest login that proves something was begun
        self.ended_before = 0.0  # monotonic: others' logins that were begun before it have been told to end
        self.login_s = 0.0  # what the latest login of ours took, as far as we know
        self._asking: asyncio.Task[None] | None = None
        self._reconnect: asyncio.Task[None] | None = None
        self._outlast: asyncio.Task[None] | None = None

    async def keep(self, session: Session | None) -> None:
        """From now on *session* is ours; the one before is closed."""
        before, self.session = self.session, session
        if before is not None:
            await before.close()

    def asks(self, state: State) -> bool:
        """Whether somebody is out to learn how *state*, a doubt, will end."""
        task = self._reconnect if isinstance(state, Disconnected) else self._asking
        return task is not None and not task.done()

    def asking(self, question: Coroutine[Any, Any, None]) -> None:
        """Put *question* to our session; nobody else does meanwhile."""
        self.beating = asyncio.ensure_future(question)
        self.beating.add_done_callback(lambda _: setattr(self, "beating", None))

    def probing(self, question: Coroutine[Any, Any, None]) -> None:
        """A new question takes the place of one that is still open."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = asyncio.ensure_future(question)

    def reconnecting(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the prober unless it runs."""
        if self._reconnect is None or self._reconnect.done():
            self._reconnect = asyncio.ensure_future(begin())

    def outlasting(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the one who asks whether it takes writes, unless there is one."""
        if self._outlast is None or self._outlast.done():
            self._outlast = asyncio.ensure_future(begin())

    async def leave(self) -> None:
        """End everything that is ours."""
        asking = (self._asking, self._reconnect, self._outlast, self.beating)
        tasks = [one for one in asking if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.keep(None)
