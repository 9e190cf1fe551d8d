"""What can be done to a TCP connection from outside its library: end it, and knock before it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 3
USER_TIMEOUT_MS = 20_000

# PostgreSQL, "Frontend/Backend Protocol", SSLRequest: answered by one byte before any login.
_SSL_REQUEST = struct.pack("!II", 8, 80877103)


def keep_alive(fd: int) -> None:
    """Let the kernel notice a peer that is gone: keepalive and TCP_USER_TIMEOUT on *fd*."""
    with contextlib.suppress(OSError, ValueError), _borrowed(fd) as sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_COUNT),
            ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
        ):
            option = getattr(socket, name, None)
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def shutting_down(fileno: Callable[[], int]) -> Callable[[], None]:
    """A function that shuts the socket of *fileno* down, from any thread, if it is still the same.

    The descriptor may have been closed and given to somebody else meanwhile, so the peer and our
    own port are compared with those of now before anything is done.
    """
    with contextlib.suppress(OSError, ValueError), _borrowed(fileno()) as sock:
        ends = (sock.getsockname(), sock.getpeername())

        def shut_down() -> None:
            with contextlib.suppress(OSError, ValueError):
                copy = socket.socket(fileno=os.dup(fileno()))
                with copy:
                    if (copy.getsockname(), copy.getpeername()) == ends:
                        copy.shutdown(socket.SHUT_RDWR)

        return shut_down
    return _nothing


async def knock_postgresql(host: str, port: int) -> None:
    """Get one byte out of a PostgreSQL server (or its pooler) at *host*:*port*, without a login.

    Raises OSError when it refuses, ConnectionResetError when it hangs up without a byte.
    """
    if host.startswith("/"):
        reader, writer = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    else:
        reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(_SSL_REQUEST)
        if not await reader.read(1):
            msg = f"{host}:{port} hung up without a word"
            raise ConnectionResetError(msg)
    finally:
        writer.transport.abort()


def _nothing() -> None:
    """There is no socket to shut down."""


class _borrowed:  # noqa: N801 - reads as a verb at its uses
    """A socket object over a descriptor that is somebody else's: it is not closed."""

    def __init__(self, fd: int) -> None:
        self._sock = socket.socket(fileno=fd)

    def __enter__(self) -> socket.socket:
        return self._sock

    def __exit__(self, *_: object) -> None:
        self._sock.detach()
