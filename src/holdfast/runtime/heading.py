"""Headers have a bound while they arrive: in bytes, and in time.

uvicorn calls an application when the headers are complete. Until then they lie in its memory: with
httptools as many as a client cares to send, with either of its protocols as long as it cares to wait.

    incomplete, longer than LONGEST_HEADERS   431, and the connection ends (h11 has a bound of its own: 400)
    incomplete, an answer is on its way       nothing more is read before that has left
    incomplete after `Speech.headers_within`  408, and the connection ends
    a body's trailers, longer than that       the connection ends, its client has left

A connection that has sent nothing is idle, and a body may take its time.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from holdfast.asgi.front import LONGEST_HEADERS

LINGER_S = 1.0  # who is still sending when the connection is closed never reads why
_TOO_LONG = (431, b"Request Header Fields Too Large")
_TOO_LATE = (408, b"Request Timeout")


def bounded(protocol: type[Any], within: float) -> type[Any]:
    """uvicorn's HTTP *protocol*, whose clients have *within* seconds for the headers of a request."""
    if issubclass(protocol, H11Protocol):
        return type("Bounded", (_H11, protocol), {"within": within})
    if hasattr(protocol, "on_headers_complete"):
        return type("Bounded", (_Httptools, protocol), {"within": within})
    return protocol


class _Heading:
    """Headers that have begun to arrive on *connection*, and the time they have left."""

    __slots__ = ("_connection", "_timer", "began", "size")

    def __init__(self, connection: _Bounded, began: object) -> None:
        self.began = began  # with which request
        self.size = 0
        self._connection = connection
        self._timer = connection.loop.call_later(connection.within, self._late)

    def ends(self) -> None:
        """They are complete, or will not be."""
        self._timer.cancel()

    def _late(self) -> None:
        connection = self._connection
        if _is_answering(connection):  # who sends the next request meanwhile waits for that, too
            self._timer = connection.loop.call_later(connection.within, self._late)
        else:
            _refuse(connection, _TOO_LATE)


class _Bounded(asyncio.Protocol):
    """What both have: it stands before a class of uvicorn's."""

    within: float
    heading: _Heading | None = None
    refused = False
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: Any

    def connection_lost(self, exc: Exception | None) -> None:
        self.headed()
        super().connection_lost(exc)

    def headed(self) -> None:
        """No headers are arriving, or no more."""
        if self.heading is not None:
            self.heading.ends()
            self.heading = None


class _Httptools(_Bounded):
    """A request's scope is made with its first byte, and its cycle when its headers are complete."""

    apart = 0  # bytes that came without any of the body since the latest of it: its trailers
    apart_of: Any = None
    bodied = False
    connections: set[Any]
    flow: Any
    scope: Any

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        super().data_received(data)
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:
            self._heads(data)
        elif self.heading is not None:
            self.headed()
        elif self.bodied:
            self.bodied, self.apart = False, 0
        elif cycle.more_body:
            self._trails(data)

    def on_body(self, body: bytes) -> None:
        self.bodied = True
        super().on_body(body)  # type: ignore[misc]

    def _heads(self, data: bytes) -> None:
        """Headers are incomplete, or there is nothing but the end of a line, or a WebSocket."""
        if self.scope is None or self not in self.connections or self.transport.is_closing():
            self.headed()
            return
        heading = self.heading
        if heading is None or heading.began is not self.scope:
            self.headed()
            self.heading = heading = _Heading(self, self.scope)
            if self.cycle is not None:
                return  # the most of it may have been the body of the request before
        heading.size += len(data)
        if heading.size <= LONGEST_HEADERS:
            return
        if _is_answering(self):
            self.flow.pause_reading()
        else:
            _refuse(self, _TOO_LONG)

    def _trails(self, data: bytes) -> None:
        if self.apart_of is not self.cycle:
            self.apart, self.apart_of = 0, self.cycle
            return  # the most of it may have been its headers
        self.apart += len(data)
        if self.apart > LONGEST_HEADERS:
            self.refused = True
            self.transport.close()


class _H11(_Bounded):
    """Its parser says how far it is, and counts by itself."""

    conn: Any

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or not self.conn.trailing_data[0]:
            self.headed()
        elif self.heading is None:
            self.heading = _Heading(self, self.conn)


def _is_answering(connection: _Bounded) -> bool:
    """Whether a request that came before on *connection* is still being answered."""
    return connection.cycle is not None and not connection.cycle.response_complete


def _refuse(connection: _Bounded, why: tuple[int, bytes]) -> None:
    """Answer headers that will not be complete, and end *connection* when its client has had a moment to
    read that: nothing of what it still sends is."""
    if not connection.transport.is_closing():
        status, words = why
        head = (
            b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        connection.transport.write(head % (status, words, len(words)) + words)
        connection.refused = True
        if connection.transport.can_write_eof():
            connection.transport.write_eof()
        connection.loop.call_later(LINGER_S, connection.transport.close)
