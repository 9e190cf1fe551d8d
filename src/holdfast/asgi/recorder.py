"""What leaves under a key, noted as it leaves, up to a bound."""

from __future__ import annotations

from holdfast.asgi.types import Message, Send
from holdfast.databases.markers import Kept

# Of this exchange alone, or secrets: neither belongs into a table.
_LEFT_OUT = frozenset(
    {b"date", b"server", b"x-request-id", b"set-cookie", b"connection", b"transfer-encoding"}
)


class Recorder:
    """Stands between an exchange and the server."""

    __slots__ = ("_body", "_bound", "_send", "_size", "_start", "_whole")

    def __init__(self, send: Send, bound: int) -> None:
        self._send = send
        self._bound = bound
        self._start: Message | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._whole = False

    async def send(self, message: Message) -> None:
        """Pass *message* on."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            part = message.get("body", b"")
            self._size += len(part)
            if self._size <= self._bound:
                self._body.append(part)
            else:
                self._body.clear()
            self._whole = not message.get("more_body", False)
        await self._send(message)

    def answer(self) -> Kept | None:
        """The answer that left; None when it is not complete."""
        start = self._start
        if start is None or not self._whole:
            return None
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in start.get("headers", ())
            if name.lower() not in _LEFT_OUT
        )
        body = b"".join(self._body) if self._size <= self._bound else None
        return Kept(start["status"], headers, body, self._size)
