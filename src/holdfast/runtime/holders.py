"""Which processes listen on a port: who they are, and which of those that share it began."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

# psutil takes 20 ms to import, and nearly every port is free: it is imported where somebody is in the way.

_LONGEST_COMMAND = 120
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not listened on


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port; `since` is its start, in seconds since the epoch.

    `command` is redacted and shortened; `mine` says whether this user may end it.
    """

    pid: int
    command: str
    since: float
    user: str
    mine: bool

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).astimezone()
        return f"process {self.pid} of {self.user}, running since {since:%Y-%m-%d %H:%M:%S}: {self.command}"


@dataclass(frozen=True, slots=True)
class Held:
    """All who listen on a port, on whatever address; `hidden` says that others do whom the system hides."""

    port: int
    holders: tuple[Holder, ...]
    hidden: bool = False


def holder_of(port: int, address: str = "") -> Holder | None:
    """The process that listens on *port* of *address*, or of any address, if the system tells.

    Of several that share the socket it is the eldest, which started the others.
    """
    import psutil

    listeners = _listeners(port)
    in_the_way = [pid for pid, where in listeners if where in _WILDCARDS or where == address]
    pid = next((one for one in in_the_way or [pid for pid, _ in listeners] if one is not None), None)
    if pid is None:
        return None
    try:
        return _described(_eldest(psutil.Process(pid), port))
    except psutil.Error:
        return None  # it ended, or is hidden from us, between two looks


def held(port: int) -> Held:
    """All who listen on *port* now."""
    import psutil

    listeners = _listeners(port)
    holders: list[Holder] = []
    hidden = any(pid is None for pid, _ in listeners)
    # The table names one process a socket: those that share it are found by looking at each.
    for process in psutil.process_iter() if listeners else ():
        try:
            if listens(process, port):
                holders.append(_described(process))
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile
        except psutil.Error:
            hidden = True
    return Held(port, tuple(holders), hidden)


def eldest(holders: Iterable[Holder]) -> list[Holder]:
    """Those of *holders* that none of the others has started."""
    left = list(holders)
    pids = {one.pid for one in left}
    return [one for one in left if _parent(one.pid) not in pids]


def process_of(holder: Holder) -> psutil.Process | None:
    """The process that *holder* describes, if it is there; another one that has its number by now is not."""
    import psutil

    try:
        process = psutil.Process(holder.pid)
        same = abs(process.create_time() - holder.since) < 0.01
    except psutil.Error:
        return None
    return process if same else None


def listens(process: psutil.Process, port: int) -> bool:
    """Whether *process* listens on *port* of any address."""
    import psutil

    # The name changed in psutil 6; both are asked for, as our lower bound is 5.9.
    look = getattr(process, "net_connections", None) or process.connections
    try:
        return any(_is_listener(one, port) for one in look("tcp"))
    except psutil.Error:
        return False


def _listeners(port: int) -> list[tuple[int | None, str]]:
    """Process and address of all that listens on *port*; None for a process that is hidden from us."""
    import psutil

    try:
        connections: Iterable[Any] = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        # macOS shows the table of all sockets to root alone, but each user their own processes.
        return [(one.pid, "") for one in psutil.process_iter() if listens(one, port)]
    return [(one.pid, str(one.laddr.ip)) for one in connections if _is_listener(one, port)]


def _is_listener(connection: Any, port: int) -> bool:
    return bool(connection.status == "LISTEN" and connection.laddr and connection.laddr.port == port)


def _described(process: psutil.Process) -> Holder:
    import psutil

    with process.oneshot():
        user = process.username()
        mine = user == psutil.Process().username()
        return Holder(process.pid, _command(process), process.create_time(), user, mine)


def _parent(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).ppid())
    except psutil.Error:
        return None


def _eldest(process: psutil.Process, port: int) -> psutil.Process:
    while True:
        parent = process.parent()
        if parent is None or parent.pid in {0, 1, os.getpid()} or not listens(parent, port):
            return process
        process = parent


def _command(process: psutil.Process) -> str:
    from holdfast.faults.redact import redact_text

    command = redact_text(" ".join(process.cmdline()) or process.name())
    plain = " ".join(command.split())
    return plain if len(plain) <= _LONGEST_COMMAND else f"{plain[: _LONGEST_COMMAND - 1]}…"
