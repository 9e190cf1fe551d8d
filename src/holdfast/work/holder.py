"""Who this process is, as the holder of leases: one incarnation from its start to its end."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import psutil

from holdfast.work.entry import Holder

_KNOWN: dict[int, Holder] = {}  # by process number: a child of a fork is somebody else


def holder_of_this_process() -> Holder:
    """The same one for every worker of this process, and for no other process."""
    pid = os.getpid()
    known = _KNOWN.get(pid)
    if known is None:
        started_at = psutil.Process().create_time()
        known = _KNOWN[pid] = Holder(secrets.token_hex(16), _machine(), pid, started_at)
    return known


def _machine() -> str:
    """Where process numbers mean the same: containers may share a host's name and not its processes."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux: no namespaces
        return socket.gethostname()
