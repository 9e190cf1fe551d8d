"""A port that stays ours while its server is down.

A port from the kernel's ephemeral range may be given to any outgoing connection in the seconds
between a stop and a start, and the start would then fail. So ports are taken below that range.
"""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 15_000, 30_000
_ATTEMPTS = 200
_dice = random.SystemRandom()


def quiet_port(host: str = "127.0.0.1") -> int:
    """A TCP port of *host* that nobody listens on and that no outgoing connection is given.

    It is not reserved: the caller binds it, and asks again when somebody was quicker.
    Raises OSError when none is found.
    """
    for _ in range(_ATTEMPTS):
        port = _dice.randint(LOWEST, HIGHEST)
        with socket.socket() as candidate:
            try:
                candidate.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port on {host} between {LOWEST} and {HIGHEST} in {_ATTEMPTS} attempts")
