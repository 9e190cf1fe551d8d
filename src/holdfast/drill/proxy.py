"""A TCP proxy that misbehaves on command, between an application and its database.

    with server.proxied() as proxy:          # on a thread of its own; `async with` in the running loop
        proxy.black_hole()
        ...
        proxy.heal()

Every method may be called from any thread and takes effect before it returns. All state belongs to
the loop the proxy was entered in.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from types import TracebackType
from typing import Self, TypeVar

from holdfast.drill.link import Link
from holdfast.drill.ports import quiet_port
from holdfast.drill.toxics import Applied, Direction, Path, Toxic

Result = TypeVar("Result")
_ENTER_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Counters:
    """What went through since the start; `open` is now."""

    connections: int = 0
    open: int = 0
    upstream: int = 0  # bytes delivered to the server
    downstream: int = 0  # bytes delivered to clients
    resets: int = 0  # connections that the proxy has reset
    cuts: int = 0  # of these by `cut_when` and `cut_after`
    vanished: int = 0  # bytes that a black hole, or a `Timeout`, took


@dataclass(slots=True)
class Cut:
    """A connection is reset when the client says something, `times` times."""

    predicate: Callable[[bytes], bool]
    before: bool
    times: int


@dataclass(slots=True)
class Fuse:
    """A connection is reset when it carries the byte that uses up `left`."""

    direction: Direction
    left: int


def commits(data: bytes) -> bool:
    """Whether client bytes carry a COMMIT of the PostgreSQL or MySQL protocol."""
    return b"COMMIT" in data


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything on, until told otherwise."""

    host = "127.0.0.1"

    def __init__(self, upstream_host: str, upstream_port: int, dice: Random | None = None) -> None:
        self.upstream = (upstream_host, upstream_port)
        self.port = 0  # known once entered; the same for good
        self.dice = dice or Random()
        self.path = Path.PASS
        self.toxics: tuple[Applied, ...] = ()
        self.cuts: list[Cut] = []
        self.fuse: Fuse | None = None
        self._counters = Counters()
        self._links: dict[Link, asyncio.Task[None]] = {}
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._changed = asyncio.Event()
        self._leave = asyncio.Event()

    # ── entering and leaving ─────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    def __enter__(self) -> Self:
        entered = threading.Event()
        problems: list[BaseException] = []
        self._thread = threading.Thread(
            target=self._run_thread, args=(entered, problems), name="holdfast-proxy", daemon=True
        )
        self._thread.start()
        entered.wait(_ENTER_WITHIN)
        if problems:
            raise problems[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join()
        self._thread = None

    def _run_thread(self, entered: threading.Event, problems: list[BaseException]) -> None:
        async def live() -> None:
            self._leave = asyncio.Event()
            async with self:
                entered.set()
                await self._leave.wait()

        try:
            asyncio.run(live())
        except BaseException as problem:  # noqa: BLE001 - handed to the thread that entered
            problems.append(problem)
            entered.set()

    # ── faults ───────────────────────────────────────────────────────────────────────────────

    def add(self, toxic: Toxic, direction: Direction = Direction.DOWNSTREAM, toxicity: float = 1.0) -> None:
        """Put *toxic* on one direction of new and present connections, each with chance *toxicity*."""

        def act() -> None:
            applied = Applied(toxic, direction, toxicity)
            self.toxics = (*self.toxics, applied)
            for link in self._links:
                link.feel(applied)

        self._call(act)

    def refuse(self) -> None:
        """As if the server were down: connects are refused, present connections reset."""

        def act() -> None:
            self._turn(Path.REFUSE)
            self._unlisten()
            self._reset_links()

        self._call(act)

    def black_hole(self) -> None:
        """Bytes vanish both ways, and the end of a connection with them; new ones are never answered.

        A connection that lost bytes stays silent after `heal`, until its client closes it.
        """
        self._call(lambda: self._turn(Path.BLACK_HOLE))

    def stall(self) -> None:
        """Bytes are held both ways and delivered in order after `heal`; new connections wait too."""
        self._call(lambda: self._turn(Path.STALL))

    def reset_all(self) -> int:
        """Reset (RST) every open connection now, both sides; returns how many."""
        return self._call(self._reset_links)

    def cut_after(self, count: int, direction: Direction = Direction.DOWNSTREAM) -> None:
        """Let *count* more bytes pass in *direction*, then reset the connection that carried the last."""

        def act() -> None:
            self.fuse = Fuse(direction, count)

        self._call(act)

    def cut_when(self, predicate: Callable[[bytes], bool], *, before: bool, times: int = 1) -> None:
        """Reset a connection when *predicate* holds for bytes of its client, *times* times.

        With *before* the bytes never reach the server. Without, they do, and its answer is awaited
        but not delivered. *predicate* sees each chunk as it came and is called in the proxy's loop.
        """
        self._call(lambda: self.cuts.append(Cut(predicate, before, times)))

    def heal(self) -> None:
        """End every fault: no toxics, no cuts, listening and passing; what was held is delivered."""

        def act() -> None:
            self.toxics, self.fuse = (), None
            self.cuts.clear()
            for link in self._links:
                link.feel_nothing()
            self._turn(Path.PASS)
            if self._listener is None:
                self._listen()

        self._call(act)

    @property
    def counters(self) -> Counters:
        """What went through so far; can be read after leaving, too."""
        if self._loop is None:
            return self._counters
        return self._call(lambda: replace(self._counters, open=len(self._links)))

    # ── for the links, in the loop ───────────────────────────────────────────────────────────

    async def changed(self) -> None:
        """Wait until the path is another."""
        await self._changed.wait()

    def count(self, **more: int) -> None:
        """Add to the counters."""
        now = {name: getattr(self._counters, name) + number for name, number in more.items()}
        self._counters = replace(self._counters, **now)

    def cut_on(self, data: bytes) -> Cut | None:
        """The cut that these client bytes set off, used up by one; None for none."""
        for cut in self.cuts:
            if cut.times > 0 and cut.predicate(data):
                cut.times -= 1
                return cut
        return None

    def burn(self, direction: Direction, size: int) -> int | None:
        """How many of *size* bytes may still pass before the fuse cuts; None when none cuts."""
        if self.fuse is None or self.fuse.direction is not direction:
            return None
        if size < self.fuse.left:
            self.fuse.left -= size
            return None
        allowed, self.fuse = self.fuse.left, None
        return allowed

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _call(self, act: Callable[[], Result]) -> Result:
        """Run *act* in the proxy's loop and return its result."""
        if self._loop is None:
            raise RuntimeError("enter the proxy first: `with proxy:` or `async with proxy:`")
        if asyncio._get_running_loop() is self._loop:
            return act()
        if self._thread is None:
            raise RuntimeError("a proxy entered with `async with` is told from its own loop")

        async def acting() -> Result:
            return act()

        return asyncio.run_coroutine_threadsafe(acting(), self._loop).result(_ENTER_WITHIN)

    def _turn(self, path: Path) -> None:
        self.path = path
        self._changed.set()  # wakes those who wait now; those who wait later wait for the next turn
        self._changed = asyncio.Event()

    def _listen(self) -> None:
        assert self._loop is not None
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        self.port = self.port or quiet_port(self.host)
        listener.bind((self.host, self.port))
        listener.listen(1024)
        self._listener = listener
        self._loop.add_reader(listener, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None and self._loop is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        assert self._loop is not None
        while self._listener is not None:
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            client.setblocking(False)
            link = Link(self, client)
            self.count(connections=1)
            self._links[link] = link.task = self._loop.create_task(link.run())
            link.task.add_done_callback(partial(self._forget, link))

    def _forget(self, link: Link, task: asyncio.Task[None]) -> None:
        del self._links[link]
        if not task.cancelled():
            task.result()  # a defect of ours must not pass in silence

    def _reset_links(self) -> int:
        present = list(self._links)
        for link in present:
            link.reset()
        self.count(resets=len(present))
        return len(present)

    async def _close(self) -> None:
        self._unlisten()
        tasks = list(self._links.values())
        self._reset_links()
        if tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # the aborted transports let go of their sockets in this turn
        self._loop = None
