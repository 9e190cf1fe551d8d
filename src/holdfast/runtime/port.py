"""The port: found taken, forbidden or unusable before the slow phases, and told so that it helps."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.runtime.holders import Holder, holder_of
from holdfast.settings.failure import Exit, StartFailure

_PHASE = "port"
_TAKEN = frozenset({errno.EADDRINUSE, 10048})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, 10013})


@dataclass(frozen=True, slots=True)
class Place:
    """An address, and how the user says another port for it."""

    host: str
    port: int
    variable: str = "PORT"
    option: str | None = "--port"

    def __str__(self) -> str:
        named = "" if self.option else f" ({self.variable})"
        return f"Port {self.port} of {self.host or 'every address'}{named}"

    def at(self, port: int) -> str:
        """How to choose *port* instead."""
        if self.option is None:
            return f"set {self.variable}={port}"
        return f"set {self.variable}, or start with {self.option} {port}"


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
        raise failure(Place(host, port), error) from error
    return bound


def url_of(host: str, port: int) -> str:
    """Where a browser on this machine finds what listens there."""
    shown = "127.0.0.1" if host in {"0.0.0.0", ""} else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{shown}:{port}"


def failure(place: Place, error: Exception) -> StartFailure:
    """What *error*, raised by binding or listening there, means to the user."""
    code = error.errno if isinstance(error, OSError) else None
    if code in _TAKEN and not isinstance(error, socket.gaierror):
        return _taken(place)
    if code in _FORBIDDEN and not isinstance(error, socket.gaierror):
        return _forbidden(place)
    return _unusable(place, error)


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


def _taken(place: Place) -> PortTaken:
    address = ""
    with contextlib.suppress(OSError, UnicodeError, OverflowError):
        address = str(_address(place.host, place.port)[1][0]) if place.host else ""
    holder = holder_of(place.port, address)
    by = f"by {holder}" if holder else "by a process that this user cannot see"
    taken = PortTaken(
        _PHASE,
        f"{place} is taken {by}.",
        "\n".join(("One of:", *(f"- {way}" for way in ways_out(place, holder, sys.platform)))),
        Exit.UNAVAILABLE,
    )
    taken.holder = holder
    return taken


def ways_out(place: Place, holder: Holder | None, platform: str) -> tuple[str, str, str]:
    """The three things a user of *platform* (as `sys.platform`) can do about a taken port."""
    port = place.port
    return (
        way_to_stop(port, holder, platform),
        f"let holdfast ask and end it: holdfast free-port {port}",
        f"listen elsewhere: {place.at(port + 1 if port < 65535 else 8000)}",
    )


def way_to_stop(port: int, holder: Holder | None, platform: str) -> str:
    """How a user of *platform* ends the *holder* of *port*, or finds one that nobody told of."""
    if platform == "win32":
        if holder is not None:
            return f"stop it: taskkill /PID {holder.pid} (with /F when it does not listen)"
        return f"find it in an administrator's prompt: netstat -ano | findstr :{port}"
    if holder is not None:
        return f"stop it: {'' if holder.mine else 'sudo '}kill {holder.pid}"
    if platform == "darwin":
        return f"find it: sudo lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return f"find it: sudo ss -ltnp 'sport = :{port}'"


def _forbidden(place: Place) -> PortForbidden:
    port = place.port
    who = "an administrator" if sys.platform == "win32" else "root"
    if port >= 1024:
        where = f"{str(place)[0].lower()}{str(place)[1:]}"
        description = f"The system does not permit listening on {where}."
        return PortForbidden(_PHASE, description, f"Choose another port: {place.at(8000)}.", Exit.UNAVAILABLE)
    ways = [
        "One of:",
        f"- listen on a port from 1024 up: {place.at(8000 + port)}",
        f"- let a web server that may hold port {port} (nginx, Caddy) pass requests on",
    ]
    if sys.platform.startswith("linux"):
        ways.append("- let a systemd unit permit it: AmbientCapabilities=CAP_NET_BIND_SERVICE")
    named = "" if place.option else f" ({place.variable})"
    description = f"Port {port}{named} is below 1024, and only {who} may listen there."
    return PortForbidden(_PHASE, description, "\n".join(ways), Exit.UNAVAILABLE)


def _unusable(place: Place, error: Exception) -> PortUnusable:
    if isinstance(error, socket.gaierror | UnicodeError):
        wrong = f"The host {place.host!r} has no address."
        action = (
            "Set HOST (or --host) to an address of this machine: 127.0.0.1 for this machine only, 0.0.0.0 "
            "for every one. An IPv6 address stands without brackets: ::1."
        )
    elif isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        wrong = f"{place.host} is no address of this machine."
        action = (
            "Set HOST (or --host) to 127.0.0.1 for this machine only, or 0.0.0.0 for every address of it."
        )
    else:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        wrong = f"{place} cannot be used: {why}."
        host = "HOST to an address of this machine and " if place.option else ""
        action = f"Set {host}{place.variable} to a number from 1 to 65535."
    return PortUnusable(_PHASE, wrong, action, Exit.UNAVAILABLE)
