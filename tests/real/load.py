"""Open-loop load on a shop, and the oracle that compares what was acknowledged with what is there.

Arrivals do not wait for answers, so an outage meets the requests that real users would have sent.
Every order has a reference of its own, which is how losses and doubles show in the table.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

PROBLEM = "application/problem+json"
# What a client is told whose connection was lost at COMMIT, or between COMMIT and the answer.
IN_DOUBT = (503, "commit_outcome_unknown")
INTERRUPTED = (503, "applied_but_interrupted")


@dataclass(slots=True)
class Record:
    """One request and what became of it; moments are monotonic seconds."""

    method: str
    path: str
    sent_at: float
    key: str | None = None
    reference: str | None = None
    done_at: float = 0.0
    status: int = 0  # 0: no answer at all, see error
    error: str = ""
    code: str | None = None  # `code` of a JSON error body
    content_type: str = ""
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def took(self) -> float:
        return self.done_at - self.sent_at

    def __str__(self) -> str:
        answer = f"{self.status} {self.code or ''}" if self.status else self.error
        return f"{self.method} {self.path} {answer.strip()} after {self.took:.2f} s"


@dataclass(frozen=True, slots=True)
class Shape:
    """What the load consists of."""

    rate: float = 100.0  # arrivals a second
    get_share: float = 0.8
    timeout: float = 10.0  # the client's patience, seconds
    seed: int = 1
    keyed: bool = True  # orders carry an Idempotency-Key


class Load:
    """Sends requests while its `async with` block runs; leaving waits for every answer."""

    def __init__(self, base_url: str, shape: Shape) -> None:
        self.base_url, self.shape = base_url, shape
        self.records: list[Record] = []
        self._dice = random.Random(shape.seed)
        self._under_way: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self.shape.timeout)
        # Less than the servers' five seconds: else both ends race over connections that fall idle.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
        self._session = aiohttp.ClientSession(self.base_url, timeout=timeout, connector=connector)
        self._arrivals = asyncio.create_task(self._arrive())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._arrivals.cancel()
        await asyncio.wait([self._arrivals])
        try:
            if self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            await self._session.close()
        if not self._arrivals.cancelled():
            self._arrivals.result()

    async def get(self, path: str) -> Record:
        """One GET beside the stream of arrivals."""
        return await self._send(Record("GET", path, time.monotonic()))

    async def order(self, keyed: bool = True) -> Record:
        """One POST of an order beside the stream of arrivals."""
        return await self._send(self._new_order(keyed))

    async def _arrive(self) -> None:
        started, number = time.monotonic(), 0
        while True:
            due = started + number / self.shape.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            record = self._draw()
            self.records.append(record)
            task = asyncio.create_task(self._tell(record))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            number += 1

    def _draw(self) -> Record:
        if self._dice.random() >= self.shape.get_share:
            return self._new_order(self.shape.keyed)
        number = self._dice.randint(0, 20)
        return Record("GET", f"/items/{number}" if number else "/items", time.monotonic())

    def _new_order(self, keyed: bool) -> Record:
        name = uuid.UUID(int=self._dice.getrandbits(128), version=4).hex
        key = f"key-{name}" if keyed else None
        return Record("POST", "/orders", time.monotonic(), key=key, reference=f"order-{name}")

    async def _tell(self, record: Record) -> None:
        await self._send(record)

    async def _send(self, record: Record) -> Record:
        headers = {"Idempotency-Key": record.key} if record.key else {}
        body = {"reference": record.reference, "item_id": 1} if record.reference else None
        try:
            async with self._session.request(
                record.method, record.path, json=body, headers=headers
            ) as answer:
                text = await answer.text()
                record.content_type = answer.content_type
                record.retry_after = answer.headers.get("Retry-After")
                record.code = _code(answer.content_type, text)
                record.status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            record.error = f"{type(error).__name__}: {error}"
        record.done_at = time.monotonic()
        return record


async def run_load(base_url: str, seconds: float, shape: Shape | None = None) -> list[Record]:
    """Send load for *seconds*, wait for every answer, return the records in order of sending."""
    async with Load(base_url, shape or Shape()) as load:
        await asyncio.sleep(seconds)
    return load.records


def _code(content_type: str, text: str) -> str | None:
    if "json" not in content_type:
        return None
    body = json.loads(text)
    return body.get("code") if isinstance(body, dict) else None


# ── the oracle ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Verdict:
    """Acknowledged orders against the rows of the table."""

    acknowledged: int
    missing: tuple[str, ...]  # acknowledged, not there
    doubled: tuple[str, ...]  # there more than once
    unasked: tuple[str, ...]  # there, and never ordered

    @property
    def right(self) -> bool:
        return not (self.missing or self.doubled or self.unasked)


def judge(records: Iterable[Record], references: Iterable[str]) -> Verdict:
    """Compare the records of a load with the references found in the table of orders."""
    orders = [record for record in records if record.reference]
    acknowledged = {record.reference for record in orders if record.ok and record.reference}
    rows = Counter(references)
    return Verdict(
        acknowledged=len(acknowledged),
        missing=tuple(sorted(acknowledged - rows.keys())),
        doubled=tuple(sorted(reference for reference, count in rows.items() if count > 1)),
        unasked=tuple(sorted(rows.keys() - {record.reference for record in orders})),
    )


def tally(records: Sequence[Record]) -> str:
    """How many of what, for people: the message of a failed claim."""
    counted = Counter(
        f"{record.method} {record.status or record.error.split(':')[0]} {record.code or ''}".strip()
        for record in records
    )
    parts = ", ".join(f"{what} ×{count}" for what, count in counted.most_common())
    return f"{len(records)} requests: {parts}"
