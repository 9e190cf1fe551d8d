"""Visitors of the shop: a steady stream of reads and orders, each a client of its own.

They do not slow down while the shop does: a visitor comes when it is time, whoever still waits.
A browser could not do this itself, it opens at most six connections to one server.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import orjson

from holdfast.demo.asking import ask

RATES = (0, 5, 20)  # visitors a second that can be chosen
_LEAVES_AFTER = 120.0  # seconds; longer than any deadline of the shop
_READ, _ORDER = "read", "order"


@dataclass(frozen=True, slots=True)
class Visit:
    """One request as its client sees it; moments are monotonic seconds."""

    id: int
    kind: str
    sent_at: float
    ended_at: float | None = None
    status: int = 0  # 0: no answer at all

    @property
    def served(self) -> bool:
        """Whether it was answered as it hoped."""
        return 200 <= self.status < 300


@dataclass(slots=True)
class Tally:
    """What the visitors have seen so far."""

    answered: int = 0
    failed: int = 0
    longest_s: float = 0.0
    confirmed: list[str] = field(default_factory=list)  # references of acknowledged orders


class Visitors:
    """The stream: `rate` visitors a second, each visit told to *tell* when it begins and when it ends."""

    def __init__(self, port: int, tell: Callable[[Visit], None]) -> None:
        self.tally = Tally()
        self.waiting: dict[int, Visit] = {}
        self._port = port
        self._tell = tell
        self._rate = 0
        self._numbers = itertools.count(1)
        self._visits: set[asyncio.Task[None]] = set()
        self._stream: asyncio.Task[None] | None = None

    @property
    def rate(self) -> int:
        """Visitors a second; 0 while nobody comes."""
        return self._rate

    async def come(self, rate: int) -> None:
        """Let *rate* visitors come each second from now on. Raises ValueError unless it is one of `RATES`."""
        if rate not in RATES:
            raise ValueError(f"rate is {rate}; it can be {', '.join(map(str, RATES))}")
        await self._end_stream()
        self._rate = rate
        if rate:
            self._stream = asyncio.create_task(self._flow(1 / rate))

    async def leave(self) -> None:
        """End the stream and every visit that still waits."""
        await self._end_stream()
        visits = list(self._visits)
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)

    async def _end_stream(self) -> None:
        stream, self._stream, self._rate = self._stream, None, 0
        if stream is not None:
            stream.cancel()
            await asyncio.wait([stream])

    async def _flow(self, every: float) -> None:
        due_at = monotonic()
        while True:
            visit = asyncio.create_task(self._visit(next(self._numbers)))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)
            due_at += every
            await asyncio.sleep(max(0.0, due_at - monotonic()))

    async def _visit(self, number: int) -> None:
        kind = _ORDER if number % 2 else _READ
        sent_at = monotonic()
        begun = self.waiting[number] = Visit(number, kind, sent_at)
        self._tell(begun)
        reference = f"visitor-{uuid.uuid4()}"
        try:
            async with asyncio.timeout(_LEAVES_AFTER):
                status = await self._ask(kind, number, reference)
        except OSError:  # nobody there, cut off, or no answer for minutes: all the same to a visitor
            status = 0
        finally:
            del self.waiting[number]
        ended = Visit(number, kind, sent_at, monotonic(), status)
        self._count(ended, reference)
        self._tell(ended)

    async def _ask(self, kind: str, number: int, reference: str) -> int:
        if kind == _READ:
            return (await ask(self._port, "GET", "/api/items")).status
        body = orjson.dumps({"reference": reference, "item_id": 1 + number // 2 % 5})
        headers = {"Content-Type": "application/json", "Idempotency-Key": reference}
        return (await ask(self._port, "POST", "/api/orders", body, headers)).status

    def _count(self, visit: Visit, reference: str) -> None:
        assert visit.ended_at is not None
        self.tally.answered += visit.served
        self.tally.failed += not visit.served
        self.tally.longest_s = max(self.tally.longest_s, visit.ended_at - visit.sent_at)
        if visit.served and visit.kind == _ORDER:
            self.tally.confirmed.append(reference)
