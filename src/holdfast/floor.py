"""What a stop may do to requests and their databases."""

from __future__ import annotations

import asyncio

from holdfast.app import Holdfast
from holdfast.asgi.front import Front


class Floor:
    """The `Stage` of `runtime/stop.py`, over one front."""

    def __init__(self, hold: Holdfast, front: Front) -> None:
        self._hold = hold
        self._front = front

    def drain(self) -> None:
        self._hold.vital.draining = True

    def tell_streams(self) -> None:
        for exchange in list(self._front.stage().replay.live):
            if exchange.request.started:
                exchange.body.hang_up()

    def answer_held(self) -> None:
        self._front.stage().door.close()
        if self._front.opened is not None:
            self._front.opened.set()
        for database in self._hold.registry:
            database.dismiss()
            if database.away:
                database.end_waits()

    def lock(self) -> None:
        self._front.stage().door.lock()

    def sockets(self) -> set[asyncio.Task[None]]:
        return set(self._hold.sockets)

    def cut(self) -> None:
        self._front.stage().door.cutting = True
        for database in self._hold.registry:
            database.end_waits()

    def named(self) -> list[str]:
        return [*self._front.in_flight(), *(f"WebSocket {task.get_name()}" for task in self._hold.sockets)]
