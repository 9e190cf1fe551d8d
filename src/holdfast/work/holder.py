"""Who this process is, as the holder of leases: one incarnation from its start to its end."""

from __future__ import annotations

import os
import secrets
import socket

import psutil

from holdfast.work.entry import Holder

_KNOWN: dict[int, Holder] = {}  # by process number: a child of a fork is somebody else


def holder_of_this_process() -> Holder:
    """The same one for every worker of this process, and for no other process."""
    pid = os.getpid()
    known = _KNOWN.get(pid)
    if known is None:
        started_at = psutil.Process().create_time()
        known = _KNOWN[pid] = Holder(secrets.token_hex(16), socket.gethostname(), pid, started_at)
    return known
