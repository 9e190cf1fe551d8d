"""Telling the process that started us that we are ready, or stopping.

systemd listens on `NOTIFY_SOCKET`, PM2 on the channel `NODE_CHANNEL_FD`. Nothing here raises: who
cannot be told is named in the texts that are returned, for the caller to log as warnings.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping

_WAIT_S = 1.0  # a listener that does not read must not keep us from serving


def notify_ready(environ: Mapping[str, str], status: str = "") -> tuple[str, ...]:
    """Say that requests are served; *status* is a line for `systemctl status`. Returns warnings."""
    message = "READY=1" + (f"\nSTATUS={' '.join(status.split())}" if status else "")
    return tuple(one for one in (_systemd(environ, message), _pm2(environ)) if one is not None)


def notify_stopping(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Say that we have begun to stop. Returns warnings."""
    warning = _systemd(environ, "STOPPING=1")
    return () if warning is None else (warning,)


def _systemd(environ: Mapping[str, str], message: str) -> str | None:
    place = environ.get("NOTIFY_SOCKET", "").strip()
    if not place:
        return None
    if place[0] not in "/@" or not hasattr(socket, "AF_UNIX"):
        return f"NOTIFY_SOCKET is {place!r}, neither a path nor an abstract name (@...): systemd was not told"
    # A leading @ stands for the NUL byte of Linux's abstract names.
    address = f"\0{place[1:]}" if place[0] == "@" else place
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.settimeout(_WAIT_S)
            line.connect(address)
            line.sendall(message.encode())
    except (OSError, ValueError) as error:
        return f"systemd was not told {message.splitlines()[0]} on NOTIFY_SOCKET {place}: {_why(error)}"
    return None


def _pm2(environ: Mapping[str, str]) -> str | None:
    given = environ.get("NODE_CHANNEL_FD", "").strip()
    if not given:
        return None
    if environ.get("NODE_CHANNEL_SERIALIZATION_MODE", "json") != "json":
        return "NODE_CHANNEL_FD does not speak JSON: its owner was not told that we are ready"
    try:
        channel = int(given)
        # A shell in between may have closed the channel, and the number may be a file or a database
        # connection of ours by now: only what can be a channel is written to.
        if not _may_be_a_channel(channel):
            return (
                f"NODE_CHANNEL_FD is {channel}, which is no channel: its owner was not told that we are ready"
            )
        os.write(channel, b'"ready"\n')
    except (OSError, ValueError, OverflowError) as error:
        return f"NODE_CHANNEL_FD {given[:20]!r} could not be told that we are ready: {_why(error)}"
    return None


def _may_be_a_channel(number: int) -> bool:
    mode = os.fstat(number).st_mode
    if not stat.S_ISSOCK(mode):
        return stat.S_ISFIFO(mode)
    with socket.socket(fileno=os.dup(number)) as look:
        return look.family not in {socket.AF_INET, socket.AF_INET6}


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
