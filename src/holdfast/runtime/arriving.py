"""No connection is closed on a request that has arrived.

uvicorn closes an idle connection when its time is up, and every idle one when it stops, though a
request may lie there which a busy loop has not come to read. Its client would be told "connection
reset", and cannot know whether what it asked for was done.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import Any

SOON_S = 0.05  # by then the loop has read what lies there
FRESH_S = 0.5  # who has connected so lately is about to ask something


def patient(protocol: type[Any]) -> type[Any]:
    """uvicorn's HTTP *protocol*, which looks before its idle connection is closed."""

    class Patient(protocol):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.made_at = monotonic()

        def timeout_keep_alive_handler(self) -> None:
            if has_bytes(self.transport):
                again = self.loop.call_later(SOON_S, self.timeout_keep_alive_handler)
                self.timeout_keep_alive_task = again
            else:
                super().timeout_keep_alive_handler()

    return Patient


def brings_more(connection: Any) -> bool:
    """Whether a request is on its way on an idle *connection*: it lies there, or was never asked for yet."""
    cycle = getattr(connection, "cycle", None)
    if cycle is not None and not cycle.response_complete:
        return False
    fresh = cycle is None and monotonic() - getattr(connection, "made_at", 0.0) < FRESH_S
    return fresh or has_bytes(connection.transport)


def has_bytes(transport: Any) -> bool:
    """Whether something has arrived on *transport* that the loop has not read yet."""
    return is_ready(transport.get_extra_info("socket"))


def is_ready(sock: Any) -> bool:
    """Whether something lies at *sock*, a socket or what looks like one: bytes, or at a listener a client."""
    if sock is None or sock.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
