"""A server of ours with one application, and raw clients."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.runtime.port import bind
from holdfast.runtime.server import Server, Speech

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Running:
    """A server with one application, and raw clients."""

    def __init__(self, app: Any, headers_within: float = 60.0, **options: Any) -> None:
        self.server = Server(app, Speech(headers_within=headers_within, extra=options))
        self.port = 0

    @property
    def connections(self) -> list[Any]:
        return list(self.server._server.server_state.connections)

    async def __aenter__(self) -> Running:
        self._sock = bind("127.0.0.1", 0)
        self.port = self._sock.getsockname()[1]
        await self.server.listen(self._sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.refuse()
        self.server.drop()
        await self.server.end()
        self._sock.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)
