"""Clients that place keyed orders, and ask again with the same key when they are not answered.

As a sane front end does: no answer, 503 and 409 `idempotency_in_progress` are tried again a few
times; every other answer is the last. Some click twice, some ask again for what was answered.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from random import Random

import aiohttp

PATIENCE = 10.0  # of a client, in seconds, for one attempt
PAUSES = (0.25, 0.5, 1.0, 2.0)
IN_PROGRESS = "idempotency_in_progress"
INTERRUPTED = "applied_but_interrupted"


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt and what came back; status 0: nothing, see `error`. Moments are monotonic."""

    sent_at: float
    done_at: float
    status: int = 0
    code: str | None = None
    replayed: bool = False
    body: bytes = b""
    location: str | None = None
    error: str = ""

    @property
    def passing(self) -> bool:
        """Whether asking again makes sense."""
        return self.status in (0, 503) or (self.status == 409 and self.code == IN_PROGRESS)

    @property
    def kind(self) -> str:
        """What it is counted as."""
        if not self.status:
            return f"no answer ({self.error.split(':')[0]})"
        return " ".join(filter(None, (str(self.status), self.code, "replayed" if self.replayed else None)))


@dataclass(slots=True)
class Order:
    """One order: everything that was said about it."""

    reference: str
    key: str
    clicks: str  # "once", "twice" at the same time, or "again" after the answer
    answers: list[Answer] = field(default_factory=list)
    lasts: list[Answer] = field(default_factory=list)  # the last answer of each click
    operation: str | None = None  # what became of a 202: its state, and the status of its answer

    def told(self, began_at: float) -> str:
        """Its history, for people."""
        said = [
            f"    {one.sent_at - began_at:+.3f} … {one.done_at - began_at:+.3f} s: {one.kind} {one.error}"
            f" {one.body[:200].decode(errors='replace')} {one.location or ''}".rstrip()
            for one in self.answers
        ]
        head = f"  {self.reference} (key {self.key}, clicked {self.clicks}, operation {self.operation})"
        return "\n".join([head, *said])


class Orders:
    """Places orders at a rate while its `arrive` runs; arrivals do not wait for answers."""

    def __init__(self, session: aiohttp.ClientSession, dice: Random, prefix: str) -> None:
        self.placed: list[Order] = []
        self._session, self._dice, self._prefix = session, dice, prefix
        self._under_way: set[asyncio.Task[None]] = set()

    async def arrive(self, rate: float, seconds: float) -> None:
        """Place `rate` orders a second for *seconds*, then wait until every client is done."""
        began_at = time.monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began_at + number / rate - time.monotonic()))
            task = asyncio.create_task(self._click(self._new()))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    def _new(self) -> Order:
        name = uuid.UUID(int=self._dice.getrandbits(128), version=4).hex
        (clicks,) = self._dice.choices(["once", "twice", "again"], [90, 5, 5])
        order = Order(f"{self._prefix}{name}", f"key-{name}", clicks)
        self.placed.append(order)
        return order

    async def _click(self, order: Order) -> None:
        pause = self._dice.uniform(0.0, 0.05 if order.clicks == "twice" else 1.0)
        match order.clicks:
            case "twice":
                await asyncio.gather(self._place(order), self._place(order, pause))
            case "again":
                await self._place(order)
                await self._place(order, pause)
            case _:
                await self._place(order)

    async def _place(self, order: Order, pause: float = 0.0) -> None:
        for before in (pause, *PAUSES):
            await asyncio.sleep(before)
            answer = await self._send(order)
            order.answers.append(answer)
            if not answer.passing:
                break
        order.lasts.append(answer)

    async def _send(self, order: Order) -> Answer:
        sent_at = time.monotonic()
        body = {"reference": order.reference, "item_id": 1}
        headers = {"Idempotency-Key": order.key}
        try:
            async with self._session.post("/orders", json=body, headers=headers) as answer:
                return Answer(
                    sent_at,
                    status=answer.status,
                    replayed=answer.headers.get("Idempotent-Replayed") == "true",
                    location=answer.headers.get("Location"),
                    body=(content := await answer.read()),
                    code=code_in(answer.content_type, content),
                    done_at=time.monotonic(),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(sent_at, time.monotonic(), error=f"{type(error).__name__}: {error}")


def code_in(content_type: str, content: bytes) -> str | None:
    """The `code` of a JSON error body."""
    if "json" not in content_type:
        return None
    body = json.loads(content)
    return body.get("code") if isinstance(body, dict) else None
