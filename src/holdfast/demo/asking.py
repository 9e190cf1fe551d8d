"""One HTTP request on a connection of its own, as many different clients would send them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


async def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a request to *port* of this machine and read the whole answer.

    Raises OSError when nobody listens or the connection ends before the answer does. It waits as
    long as the server does: the caller sets the limit.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        return _read(await reader.read())
    finally:
        writer.close()


def _read(raw: bytes) -> Answer:
    """The answer in *raw*, which the server has ended by closing the connection."""
    head, found, body = raw.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not found or not status:
        raise ConnectionError("the connection ended before the answer")
    names = (line.partition(b":") for line in head.split(b"\r\n"))
    length = next((int(value) for name, _, value in names if name.lower() == b"content-length"), None)
    if length is not None and len(body) < length:
        raise ConnectionError(f"the answer ended after {len(body)} of {length} bytes")
    return Answer(int(status[0]), body)
