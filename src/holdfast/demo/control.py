"""The buttons' side of the demo: a small HTTP server on a port of its own, for the page alone.

Every call carries a token that only the page was given; browsers let only the shop's page read the
answers.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from holdfast.demo.asking import HOST
from holdfast.demo.watching import Watching
from holdfast.drill.process import ServerError
from holdfast.runtime.server import Server, Speech

_HANGS_UP_WITHIN = 0.3  # seconds

Handler = Callable[[Request], Awaitable[Response]]


class Control:
    """What the buttons do."""

    def __init__(self, watching: Watching) -> None:
        self._watching = watching

    async def stop(self, _: Request) -> Response:
        """Stop the database hard; answers when it is gone."""
        await self._watching.bench.stop()
        return self._state()

    async def start(self, _: Request) -> Response:
        """Start the database; answers when it accepts connections, with 500 when it does not start."""
        try:
            await self._watching.bench.start()
        except ServerError as error:
            return JSONResponse({"error": str(error)}, 500)
        return self._state()

    async def visitors(self, request: Request) -> Response:
        """Let `{"rate": …}` visitors come each second; 422 for a rate that cannot be chosen."""
        try:
            await self._watching.visitors.come(_rate(await request.body()))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 422)
        return self._state()

    async def state(self, _: Request) -> Response:
        """Everything but the log."""
        return self._state()

    async def events(self, _: Request) -> Response:
        """State, visits and log as server-sent events."""
        headers = {"cache-control": "no-store"}
        stream = self._watching.events()
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    def _state(self) -> Response:
        return JSONResponse(self._watching.state())


def control(watching: Watching, token: str, shop_port: int) -> Starlette:
    """The application behind the buttons; *token* opens it, the shop's page on *shop_port* may use it."""
    one = Control(watching)
    allowed = Middleware(
        CORSMiddleware,
        allow_origins=[f"http://{host}:{shop_port}" for host in (HOST, "localhost")],
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
    )
    return Starlette(
        routes=[
            Route("/database/stop", _admitted(one.stop, token), methods=["POST"]),
            Route("/database/start", _admitted(one.start, token), methods=["POST"]),
            Route("/visitors", _admitted(one.visitors, token), methods=["POST"]),
            Route("/state", _admitted(one.state, token)),
            Route("/events", _admitted(one.events, token)),
        ],
        middleware=[allowed],
    )


def _admitted(handler: Handler, token: str) -> Handler:
    """*handler* for those who know *token*."""

    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or request.query_params.get("token", "")  # an EventSource sends no headers
        if not hmac.compare_digest(given.encode(), token.encode()):
            return JSONResponse({"error": "the token is missing or wrong"}, 401)
        return await handler(request)

    return guarded


def _rate(body: bytes) -> int:
    """The rate in *body*. Raises ValueError when there is none."""
    content = orjson.loads(body)
    rate = content.get("rate") if isinstance(content, dict) else None
    if type(rate) is not int:
        raise ValueError('expected {"rate": a whole number}')
    return rate


@asynccontextmanager
async def served(app: Starlette, sock: socket.socket) -> AsyncIterator[None]:
    """Serve *app* on *sock* for the length of the block; what is still open at its end is dropped."""
    server = Server(app, Speech())
    await server.listen(sock)
    try:
        yield
    finally:
        await server.refuse()
        server.hang_up()
        if tasks := server.tasks():
            await asyncio.wait(tasks, timeout=_HANGS_UP_WITHIN)
        server.drop()
        await server.end()
