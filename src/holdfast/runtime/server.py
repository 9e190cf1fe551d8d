"""uvicorn as a part: it speaks HTTP and WebSocket on a socket of ours; when to start and stop is ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from holdfast.runtime.arriving import brings_more, is_ready, patient
from holdfast.runtime.heading import bounded

logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start and stop lines would be ours twice


@dataclass(frozen=True, slots=True)
class Speech:
    """How uvicorn is to speak; `extra` are options of `uvicorn.Config` under its own names."""

    access_log: bool = False
    headers_within: float = 60.0  # seconds from a request's first byte; no slow network takes so long
    extra: dict[str, Any] = field(default_factory=dict)


LINGER_S = 0.5
LET_IN_S = 0.5  # whoever connects without end does not hold the stop
_TURNS = 4  # of the loop: one who is connected already is seen, accepted and given a protocol


class _Lingering:
    """A transport that is closed a little later than it is told."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop

    def close(self) -> None:
        """Close it when its client has had the time to answer."""
        self._loop.call_later(LINGER_S, self._transport.close)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _handshake(connection: Any) -> bool | None:
    """Whether the handshake of a WebSocket has been completed on it, by uvicorn's three protocols; None
    where it speaks HTTP."""
    event = getattr(connection, "handshake_completed_event", None)
    done = getattr(connection, "handshake_complete", None) if event is None else event.is_set()
    return None if done is None else bool(done)


class _NotTold(logging.Filter):
    """Keeps uvicorn from telling an exception that has been told already, and of streams that we end."""

    parting = False  # streams are told to end

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        ended = self.parting and record.msg == _INCOMPLETE
        return not (ended or getattr(error, "_holdfast_told", False))


_INCOMPLETE = "ASGI callable returned without completing response."
_NOT_TOLD = _NotTold()
logging.getLogger("uvicorn.error").addFilter(_NOT_TOLD)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop that serves: uvloop's, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def imports_within_loop() -> bool:
    """Whether the uvicorn that is installed imports applications within its running loop: before 0.47 it
    does. An application works with the one or the other, and was written for the uvicorn it has."""
    return not hasattr(uvicorn.Config, "load_app")


class Server:
    """One listening server."""

    def __init__(self, app: Callable[..., Any], speech: Speech) -> None:
        options = {"log_config": None, "lifespan": "off", "access_log": speech.access_log, **speech.extra}
        self._config = uvicorn.Config(app, **options)
        self._headers_within = speech.headers_within
        self._server = uvicorn.Server(self._config)
        self._listener: socket.socket | None = None
        self._told: set[Any] = set()  # to go, after their answer
        self._parting: set[Any] = set()
        self._bringing: dict[Any, float] = {}  # and until when they are waited for
        self._ticking: asyncio.Task[None] | None = None

    async def listen(self, sock: socket.socket) -> None:
        """Accept connections on *sock* from now on."""
        self._config.load()
        protocol: Any = self._config.http_protocol_class
        self._config.http_protocol_class = patient(bounded(protocol, self._headers_within))
        self._server.lifespan = self._config.lifespan_class(self._config)
        self._listener = sock
        await self._server.startup(sockets=[sock])
        self._ticking = asyncio.ensure_future(self._server.main_loop())

    async def refuse(self) -> None:
        """Accept no further connection. The system has accepted those in its queue: they are let in first,
        of which some loops make one a turn."""
        until = asyncio.get_running_loop().time() + LET_IN_S
        await self._turns()
        while is_ready(self._listener) and asyncio.get_running_loop().time() < until:
            await self._turns()
        for listener in self._server.servers:
            listener.close()
        await self._turns()  # whoever came last has a protocol, too

    def hang_up(self) -> None:
        """Close WebSockets with 1012, idle connections at once, busy ones after their answer.

        A WebSocket's connection stays for a moment, so that its client can say goodbye too
        (RFC 6455, section 7.1.1): one that meets a closed connection there reports 1006. So does one
        on which a request is on its way, or a handshake.
        """
        _NOT_TOLD.parting = True
        self._tell_all()

    def parting(self) -> int:
        """How many connections stay for a moment after `hang_up`. To be asked until there is none: one
        that is new, or has become a WebSocket, is told then."""
        connections = self._server.server_state.connections
        self._told &= connections
        self._parting &= connections
        self._bringing = {one: until for one, until in self._bringing.items() if one in connections}
        self._tell_all()
        return len(self._parting) + len(self._bringing)

    def busy(self) -> int:
        """How many requests and WebSockets are still being handled."""
        return len(self._server.server_state.tasks)

    def tasks(self) -> set[asyncio.Task[None]]:
        """The tasks that handle them."""
        return set(self._server.server_state.tasks)

    def drop(self) -> None:
        """Close every connection that is left, answered or not."""
        for connection in list(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.close()

    async def end(self) -> None:
        """Stop uvicorn's own tick."""
        self._server.should_exit = True
        if self._ticking is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking

    async def _turns(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _tell_all(self) -> None:
        loop = asyncio.get_running_loop()
        for connection in self._server.server_state.connections - self._told:
            if not self._stays(connection, loop.time()):
                self._told.add(connection)
                self._tell(connection, loop)

    def _stays(self, connection: Any, now: float) -> bool:
        """Whether it is not told yet, because of what is on its way; not for longer than a moment."""
        done = _handshake(connection)
        brings = brings_more(connection) if done is None else not done
        if brings and now < self._bringing.setdefault(connection, now + LINGER_S):
            return True
        self._bringing.pop(connection, None)
        return False

    def _tell(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        if _handshake(connection):
            staying: Any = _Lingering(connection.transport, loop)
            connection.transport = staying
            self._parting.add(connection)
        connection.shutdown()
