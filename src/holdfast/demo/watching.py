"""What happens on stage, told to every open page: state, visits and a log, as server-sent events.

The owner of what is told is `Watching`; pages that come later get the log and the state so far. A
page that does not keep up is let go: a browser comes back by itself and is told anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import orjson

from holdfast.demo.asking import ask
from holdfast.demo.bench import Bench, State
from holdfast.demo.figures import Figures, read
from holdfast.demo.story import Calm, Line, audit, look
from holdfast.demo.story import State as Story
from holdfast.demo.visitors import Visit, Visitors
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.process import ServerError

_LOOK_EVERY = 0.2  # seconds between two looks at the shop
_LOOK_WITHIN = 2.0
_UNREAD = 500  # events a page may be behind
_KEPT_LINES = 100

_SENTENCES: Final = {
    State.RUNNING: Line("plain", "PostgreSQL accepts connections."),
    State.STOPPING: Line("plain", "PostgreSQL is stopped hard (immediate)."),
    State.STOPPED: Line("plain", "PostgreSQL is gone."),
    State.STARTING: Line("plain", "PostgreSQL is starting."),
}


class Watching:
    """The stage as its pages see it."""

    def __init__(self, server: PostgreSQL, shop_port: int) -> None:
        self.figures = Figures()
        self.bench = Bench(server, self._bench_changed)
        self.visitors = Visitors(shop_port, self._visited)
        self._shop_port = shop_port
        self._lines: deque[dict[str, Any]] = deque(maxlen=_KEPT_LINES)
        self._visits: list[list[Any]] = []
        self._pages: set[asyncio.Queue[bytes | None]] = set()
        self._story: Story | None = None

    # ── for the stage ────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Look at the shop again and again, until cancelled."""
        self.say(Line("plain", "The shop is open, and PostgreSQL accepts connections."))
        while True:
            self.bench.notice()
            with suppress(OSError, TimeoutError):  # the stage notices a shop that has ended
                await self._look()
            self._tell_state()
            await asyncio.sleep(_LOOK_EVERY)

    def close(self) -> None:
        """End every page's stream."""
        for page in list(self._pages):
            self._let_go(page)

    def say(self, line: Line) -> None:
        """Add *line* to the log."""
        said = {"at": monotonic(), "kind": line.kind, "text": line.text}
        self._lines.append(said)
        self._tell("log", [said])

    # ── for the pages ────────────────────────────────────────────────────────────────────────

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events, from the log so far until `close`."""
        page: asyncio.Queue[bytes | None] = asyncio.Queue(_UNREAD)
        page.put_nowait(_event("state", self.state()))  # first: it tells the page what time it is here
        page.put_nowait(_event("log", list(self._lines)))
        page.put_nowait(_event("visits", [_row(visit) for visit in self.visitors.waiting.values()]))
        self._pages.add(page)
        try:
            while (event := await page.get()) is not None:
                yield event
        finally:
            self._pages.discard(page)

    def state(self) -> dict[str, Any]:
        """Everything but the log; moments are monotonic seconds, comparable with `now`."""
        now, figures, tally = monotonic(), self.figures, self.visitors.tally
        waits = [now - visit.sent_at for visit in self.visitors.waiting.values()]
        return {
            "now": now,
            "database": {
                "state": self.bench.state.value,
                "port": self.bench.port,
                "outages": [[one.began_at, one.ended_at] for one in self.bench.outages[-20:]],
            },
            "shop": {
                "served": figures.served,
                "held": figures.held,
                "replayed": figures.replayed,
                "failed": figures.failed,
                "waiting": figures.waiting,
                "up": figures.up,
            },
            "visitors": {
                "rate": self.visitors.rate,
                "answered": tally.answered,
                "failed": tally.failed,
                "confirmed": len(tally.confirmed),
                "longest": max([tally.longest_s, *waits]),
            },
        }

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        # An order confirmed after the database was read must not be missed there: count them first.
        confirmed = list(self.visitors.tally.confirmed)
        async with asyncio.timeout(_LOOK_WITHIN):
            answer = await ask(self._shop_port, "GET", "/_holdfast/metrics")
        self.figures = read(answer.body.decode())
        told = look(self._story or Calm(self.figures), self.figures)
        self._story = told.state
        for line in told.lines:
            self.say(line)
        if told.over:
            with suppress(ServerError):  # stopped again meanwhile: the next recovery is checked
                self.say(audit(confirmed, await self.bench.orders()))

    def _bench_changed(self) -> None:
        self.say(_SENTENCES[self.bench.state])
        self._tell_state()

    def _visited(self, visit: Visit) -> None:
        self._visits.append(_row(visit))

    def _tell_state(self) -> None:
        if self._visits:
            self._tell("visits", self._visits)
            self._visits = []
        self._tell("state", self.state())

    def _tell(self, name: str, content: Any) -> None:
        event = _event(name, content)
        for page in list(self._pages):
            try:
                page.put_nowait(event)
            except asyncio.QueueFull:
                self._let_go(page)

    def _let_go(self, page: asyncio.Queue[bytes | None]) -> None:
        self._pages.discard(page)
        while not page.empty():
            page.get_nowait()
        page.put_nowait(None)


def _row(visit: Visit) -> list[Any]:
    return [visit.id, visit.kind, visit.sent_at, visit.ended_at, visit.status]


def _event(name: str, content: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(content))
