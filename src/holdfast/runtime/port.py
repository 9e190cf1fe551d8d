"""The port: found taken, forbidden or unusable before the slow phases, and told so that it helps."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from holdfast.settings.failure import Exit, StartFailure

if TYPE_CHECKING:
    import psutil

_PHASE = "port"
_LONGEST_COMMAND = 120
_TAKEN = frozenset({errno.EADDRINUSE, 10048})
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not listened on
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, 10013})


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


class PortTaken(StartFailure):
    """Someone else listens there; `holder` is None when the system does not tell who."""

    holder: Holder | None = None


class PortForbidden(StartFailure):
    """This user may not listen on a port that low."""


class PortUnusable(StartFailure):
    """The address is none of this machine, or no address at all."""


def check_port(host: str, port: int, *, binder: Callable[[str, int], socket.socket] | None = None) -> None:
    """Return when *port* of *host* can be bound now; nothing stays bound.

    Raises `PortTaken`, `PortForbidden` or `PortUnusable`. *binder* stands in for `bind`.
    """
    (binder or bind)(host, port).close()


def bind(host: str, port: int) -> socket.socket:
    """A non-blocking socket bound to *port* of *host*, not listening yet; the caller closes it.

    An empty *host* means every address. Raises `PortTaken`, `PortForbidden` or `PortUnusable`.
    """
    try:
        family, address = _address(host, port)
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            _share(bound)
            bound.bind(address)
            bound.setblocking(False)
        except BaseException:
            bound.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        raise failure(host, port, error) from error
    return bound


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens there."""
    shown = "127.0.0.1" if host in {"0.0.0.0", ""} else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{shown}:{port}"


def failure(host: str, port: int, error: Exception) -> StartFailure:
    """What *error*, raised by binding or listening there, means to the user."""
    code = error.errno if isinstance(error, OSError) else None
    if code in _TAKEN and not isinstance(error, socket.gaierror):
        return _taken(host, port)
    if code in _FORBIDDEN and not isinstance(error, socket.gaierror):
        return _forbidden(host, port)
    return _unusable(host, port, error)


def holder_of(port: int, host: str = "") -> Holder | None:
    """The process that listens on *port* of *host*, or of any address, if the system tells.

    Of several that share the socket it is the eldest, which started the others.
    """
    import psutil  # takes 20 ms, and nearly every port is free

    pid = _listening_pid(port, host)
    if pid is None:
        return None
    try:
        process = _eldest(psutil.Process(pid), port)
        with process.oneshot():
            user = process.username()
            mine = user == psutil.Process().username()
            return Holder(process.pid, _command(process), process.create_time(), user, mine)
    except psutil.Error:
        return None  # it ended, or is hidden from us, between two looks


def _address(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    if not 0 <= port <= 65535:
        # The system's resolver takes it modulo 65536, and the server would listen on a port nobody named.
        raise OverflowError("ports end at 65535")
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name that has both kinds of address is bound to the one its users type: 127.0.0.1, not ::1.
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    return family, address


def _share(bound: socket.socket) -> None:
    if sys.platform == "win32":
        # SO_REUSEADDR lets anyone take over the port of a living server there.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _taken(host: str, port: int) -> PortTaken:
    holder = holder_of(port, host)
    by = f"by {holder}" if holder else "by a process that this user cannot see"
    taken = PortTaken(
        _PHASE,
        f"Port {port} of {host or 'every address'} is taken {by}.",
        "\n".join(("One of:", *(f"- {way}" for way in ways_out(port, holder, sys.platform)))),
        Exit.UNAVAILABLE,
    )
    taken.holder = holder
    return taken


def ways_out(port: int, holder: Holder | None, platform: str) -> tuple[str, str, str]:
    """The three things a user of *platform* (as `sys.platform`) can do about a taken port."""
    return (
        _stop(port, holder, platform),
        f"let holdfast ask and end it: holdfast free-port {port}",
        f"listen elsewhere: set PORT, or start with --port {port + 1 if port < 65535 else 8000}",
    )


def _stop(port: int, holder: Holder | None, platform: str) -> str:
    if platform == "win32":
        if holder is not None:
            return f"stop it: taskkill /PID {holder.pid} (with /F when it does not listen)"
        return f"find it in an administrator's prompt: netstat -ano | findstr :{port}"
    if holder is not None:
        return f"stop it: {'' if holder.mine else 'sudo '}kill {holder.pid}"
    if platform == "darwin":
        return f"find it: sudo lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return f"find it: sudo ss -ltnp 'sport = :{port}'"


def _forbidden(host: str, port: int) -> PortForbidden:
    who = "an administrator" if sys.platform == "win32" else "root"
    if port >= 1024:
        description = f"The system does not permit listening on port {port} of {host or 'every address'}."
        action = "Choose another port: set PORT, or start with --port 8000."
        return PortForbidden(_PHASE, description, action, Exit.UNAVAILABLE)
    ways = [
        "One of:",
        f"- listen on a port from 1024 up: set PORT, or start with --port {8000 + port}",
        f"- let a web server that may hold port {port} (nginx, Caddy) pass requests on",
    ]
    if sys.platform.startswith("linux"):
        ways.append("- let a systemd unit permit it: AmbientCapabilities=CAP_NET_BIND_SERVICE")
    description = f"Port {port} is below 1024, and only {who} may listen there."
    return PortForbidden(_PHASE, description, "\n".join(ways), Exit.UNAVAILABLE)


def _unusable(host: str, port: int, error: Exception) -> PortUnusable:
    if isinstance(error, socket.gaierror | UnicodeError):
        wrong = f"The host {host!r} has no address."
        action = (
            "Set HOST (or --host) to an address of this machine: 127.0.0.1 for this machine only, 0.0.0.0 "
            "for every one. An IPv6 address stands without brackets: ::1."
        )
    elif isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        wrong = f"{host} is no address of this machine."
        action = (
            "Set HOST (or --host) to 127.0.0.1 for this machine only, or 0.0.0.0 for every address of it."
        )
    else:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        wrong = f"Port {port} of {host or 'every address'} cannot be used: {why}."
        action = "Set HOST to an address of this machine and PORT to a number from 1 to 65535."
    return PortUnusable(_PHASE, wrong, action, Exit.UNAVAILABLE)


def _listening_pid(port: int, host: str) -> int | None:
    import psutil

    try:
        connections: Iterable[Any] = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        # macOS shows the table of all sockets to root alone, but each user their own processes.
        return next((one.pid for one in psutil.process_iter() if _listens(one, port)), None)
    listeners = [one for one in connections if _is_listener(one, port)]
    in_the_way = [one for one in listeners if one.laddr.ip in {*_WILDCARDS, *_addresses(host, port)}]
    return next((one.pid for one in in_the_way or listeners if one.pid is not None), None)


def _addresses(host: str, port: int) -> set[str]:
    try:
        return {str(_address(host, port)[1][0])} if host else set()
    except (OSError, UnicodeError, OverflowError):
        return set()


def _is_listener(connection: Any, port: int) -> bool:
    return bool(connection.status == "LISTEN" and connection.laddr and connection.laddr.port == port)


def _listens(process: psutil.Process, port: int) -> bool:
    import psutil

    # The name changed in psutil 6; both are asked for, as our lower bound is 5.9.
    look = getattr(process, "net_connections", None) or process.connections
    try:
        return any(_is_listener(one, port) for one in look("tcp"))
    except psutil.Error:
        return False


def _eldest(process: psutil.Process, port: int) -> psutil.Process:
    while True:
        parent = process.parent()
        if parent is None or parent.pid in {0, 1, os.getpid()} or not _listens(parent, port):
            return process
        process = parent


def _command(process: psutil.Process) -> str:
    from holdfast.faults.redact import redact_text

    command = redact_text(" ".join(process.cmdline()) or process.name())
    plain = " ".join(command.split())
    return plain if len(plain) <= _LONGEST_COMMAND else f"{plain[: _LONGEST_COMMAND - 1]}…"
