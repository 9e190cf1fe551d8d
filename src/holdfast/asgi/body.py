"""The body of a request, kept so that it can be given again, and the client behind it.

Messages are read from the server once. What was read is kept up to a bound; past it the request
can still be served, but not run again. Reading ahead is how a client that left is noticed. While a
request is held that stops at the bound, unless the body has ended: then only the client's leaving
can come. What is beyond the bound is read when it is the request's turn (`has_left_beyond`). A client
may also have left before anything was read (`has_left_unread`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdfast.asgi.types import Message, Receive
from holdfast.context import Request

_DISCONNECT = "http.disconnect"
_BEYOND_BYTES = 1024 * 1024  # read past the bound to learn whether the client is still there
_BEYOND_S = 0.05  # and so long it may be silent meanwhile
_BEYOND_TURNS = 5  # of the loop, where it was too busy to read within that time


class BodyTooLongError(Exception):
    """The body is longer than asked for, or its beginning was not kept."""


class ClientGoneError(Exception):
    """The client left before its body had arrived."""


class Body:
    """Gives the application its body, as often as it is run."""

    __slots__ = (
        "_ahead",
        "_awaited",
        "_bound",
        "_dropped",
        "_ended",
        "_gone",
        "_kept",
        "_left",
        "_next",
        "_on_gone",
        "_receive",
        "_request",
        "_size",
    )

    def __init__(self, request: Request, receive: Receive, bound: int) -> None:
        self._request = request
        self._receive = receive
        self._bound = bound
        self._kept: list[Message] = []
        self._next = 0  # of the kept messages, for the attempt under way
        self._size = 0
        self._dropped = False  # a part was given and not kept
        self._ended = False  # its last part has arrived
        self._gone = False
        self._awaited = False  # somebody waits for a part that has not arrived
        self._left: asyncio.Future[None] | None = None  # settled when the client is gone
        self._ahead: asyncio.Task[Message] | None = None
        self._on_gone: Callable[[], None] | None = None

    async def receive(self) -> Message:
        """The next message for the attempt under way."""
        while True:
            if self._next < len(self._kept):
                message = self._kept[self._next]
                if self._request.body_whole:
                    self._next += 1
                else:
                    del self._kept[0]
                    self._dropped = True
                return message
            if self._gone:
                return {"type": _DISCONNECT}
            ahead = self._ahead
            if self._ended:
                await self._until_gone()
            else:
                await self._next_part(ahead)

    @property
    def awaited_at(self) -> int | None:
        """How many bytes had arrived when somebody began to wait for more, who does so still."""
        return self._size if self._awaited else None

    def keep(self, bound: int) -> None:
        """Keep *bound* bytes, if that is more than was said before. It has not been read yet."""
        self._bound = max(self._bound, bound)

    async def whole(self, most: int) -> bytes:
        """The body from its beginning to its end, read without the application.

        Raises BodyTooLongError past *most* bytes, or when its beginning is gone, and ClientGoneError.
        """
        self.rewind()
        while not self._dropped and self._size <= most and not self._ended and not self._gone:
            await self._next_part(self._ahead)
        if self._dropped or self._size > most:
            raise BodyTooLongError(f"the body is longer than {most} bytes, or was not kept")
        if not self._ended:
            raise ClientGoneError("the client left before its body had arrived")
        return b"".join(message.get("body", b"") for message in self._kept)

    def beginning(self) -> bytes:
        """What has been read and kept so far."""
        return b"".join(message.get("body", b"") for message in self._kept)

    async def drain(self, most: int) -> None:
        """Read what is still to come, up to *most* bytes, and drop it.

        A client that is still sending when its answer comes and the connection closes never sees it.
        """
        while not self._ended and not self._gone and most > 0:
            message = await self.receive()
            most -= len(message.get("body", b""))

    async def has_left(self) -> bool:
        """Whether the client is gone by now; nothing is waited for."""
        if self._ended and not self._gone:
            ahead = self._read_ahead() if self._ahead is None else self._ahead
            await asyncio.wait([ahead], timeout=0)
            if ahead.done():
                self._arrived(ahead)
        return self._gone

    async def has_left_beyond(self) -> bool:
        """Whether the client is gone, where the watch could not see it: it stopped at the bound.

        What the server has of the rest is read, up to a mebibyte, and kept for the application: that
        the client is gone may come only after it.
        """
        if self._ended or self._size <= self._bound:
            return self._gone
        return await self._gone_within(self._size + _BEYOND_BYTES)

    async def has_left_unread(self) -> bool:
        """Whether the client is gone already, when its request is old though it has just been read.

        As much is read and kept as above. A server reads what came first, and may come to the end of the
        connection a few turns of its loop later.
        """
        if not await self._gone_within(self._size + _BEYOND_BYTES):
            for _ in range(_BEYOND_TURNS):
                await asyncio.sleep(0)
        return self._gone

    def rewind(self) -> None:
        """The next attempt reads from the beginning."""
        self._next = 0

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call *on_gone* when the client leaves: at once if it has."""
        self._on_gone = on_gone
        if self._gone:
            on_gone()
        else:
            self._look_ahead()

    def unwatch(self) -> None:
        """Nobody wants to know any more. A read under way goes on and is kept."""
        self._on_gone = None

    def hang_up(self) -> None:
        """Tell the application that its client is gone: we are stopping, and it streams."""
        self._leave()

    def close(self) -> None:
        """The request is over: a read under way is pointless."""
        self._on_gone = None
        if self._ahead is not None:
            self._ahead.cancel()

    async def _gone_within(self, most: int) -> bool:
        """Read ahead until the client turns out to be gone, nothing comes, or *most* bytes are there."""
        while not self._gone and self._size < most:
            ahead = self._read_ahead() if self._ahead is None else self._ahead
            await asyncio.wait([ahead], timeout=_BEYOND_S)
            if not ahead.done():
                break
            self._arrived(ahead)
        return self._gone

    async def _next_part(self, ahead: asyncio.Task[Message] | None) -> None:
        """Wait for what has not arrived yet; *ahead* reads it already."""
        self._awaited = True
        try:
            if ahead is None:
                self._keep(await self._receive())
            else:
                await asyncio.wait([ahead])
                self._arrived(ahead)
        finally:
            self._awaited = False

    async def _until_gone(self) -> None:
        """Nothing comes after the last part but that the client leaves, or that we hang up."""
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
        ahead = self._read_ahead() if self._ahead is None else self._ahead
        either: list[asyncio.Future[Any]] = [ahead, self._left]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if ahead.done():
            self._arrived(ahead)

    def _look_ahead(self) -> None:
        if self._ahead is None and (self._ended or self._size <= self._bound):
            self._read_ahead()

    def _read_ahead(self) -> asyncio.Task[Message]:
        self._ahead = ahead = asyncio.ensure_future(self._receive())
        ahead.add_done_callback(self._arrived)
        return ahead

    def _arrived(self, task: asyncio.Task[Message]) -> None:
        """A message read ahead is there; called once by whoever comes first."""
        if task is not self._ahead:
            return
        self._ahead = None
        if task.cancelled():
            return
        if task.exception() is not None:
            self._leave()
            return
        self._keep(task.result())
        if self._on_gone is not None and not self._gone:
            self._look_ahead()

    def _keep(self, message: Message) -> None:
        if message["type"] == _DISCONNECT:
            self._leave()
            return
        self._ended = not message.get("more_body", False)
        self._size += len(message.get("body", b""))
        if self._size > self._bound and self._request.body_whole:
            self._request.body_whole = False
            self._dropped = self._next > 0
            del self._kept[: self._next]
            self._next = 0
        self._kept.append(message)

    def _leave(self) -> None:
        self._gone = True
        if self._left is not None and not self._left.done():
            self._left.set_result(None)
        if self._on_gone is not None:
            self._request.abandoned = True
            self._on_gone()
