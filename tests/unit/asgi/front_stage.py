"""A front before an application, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

from asgi_stage import Client, House, scope_of

from holdfast.asgi.front import Front, Stage
from holdfast.asgi.health import Health, Vital


class Home:
    """A front before *app*, built as the composition root does, without its lifespan."""

    def __init__(self, app: Any, clock: Any) -> None:
        self.house = House(app, clock)
        self.vital = Vital(phase="ready", started=True)
        self.sockets: set[asyncio.Task[Any]] = set()
        self.lifespans: list[Any] = []
        self.built = 0
        self.front = Front(app, build=self.build, lifespan=self.lifespan, sockets=self.sockets, timeout=30.0)

    def build(self, front: Front, loop: asyncio.AbstractEventLoop) -> Stage:
        self.built += 1
        house = self.house
        health = Health(house.registry, house.door, self.vital, lambda: b"metrics 1\n", detailed=False)
        return Stage(loop, house.door, house.replay.answers, house.replay, health)

    async def lifespan(self, front: Front, scope: Any, receive: Any, send: Any) -> None:
        self.lifespans.append(scope)

    async def get(self, path: str, method: str = "GET", **headers: bytes) -> Client:
        client = Client()
        raw = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
        await self.front(scope_of(method, path, raw), client.receive, client.send)
        return client
