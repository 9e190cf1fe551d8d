"""A port that stays ours while its server is down.

A port from the kernel's ephemeral range may be given to any outgoing connection in the seconds
between a stop and a start, and the start would then fail. So ports are taken below that range.

Between the choice of a port and its server's `listen` lie seconds, in which another process that
looks for a port would find the same one free. So whoever is given a port also binds its UDP
namesake, which no server of ours uses, and keeps it: the claim needs no file, is seen by every
process of the machine, and the kernel ends it with its owner.
"""

from __future__ import annotations

import random
import socket
from collections import deque
from contextlib import ExitStack

LOWEST, HIGHEST = 15_000, 30_000
CLAIMS = 128
_ATTEMPTS = 200
_dice = random.SystemRandom()
_claims: deque[socket.socket] = deque()


def quiet_port(host: str = "127.0.0.1") -> int:
    """A TCP port of *host* that nobody listens on and that no outgoing connection is given.

    No other call, in this process or another, gets the same port while it is among the last 128
    that this process was given. Programs that do not ask here are not kept from it.
    Raises OSError when none is found.
    """
    for _ in range(_ATTEMPTS):
        port = _dice.randint(LOWEST, HIGHEST)
        claim = _claimed(host, port)
        if claim is None:
            continue
        _claims.append(claim)
        while len(_claims) > CLAIMS:
            _claims.popleft().close()
        return port
    raise OSError(f"no free port on {host} between {LOWEST} and {HIGHEST} in {_ATTEMPTS} attempts")


def _claimed(host: str, port: int) -> socket.socket | None:
    """The UDP socket that claims *port*, or None when it is taken or claimed."""
    with ExitStack() as undo:
        claim = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        candidate = undo.enter_context(socket.socket())
        try:
            claim.bind((host, port))
            candidate.bind((host, port))
        except OSError:
            return None
        candidate.close()
        undo.pop_all()
        return claim
