"""COMMITs seen in the PostgreSQL protocol, and connections cut around them by the fault proxy.

A chunk is what the proxy read at once. Drivers send a COMMIT by itself, so a chunk that carries one
begins with a message of its own; a chunk that begins within a message is taken for none.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from enum import Enum

from holdfast.drill.proxy import Proxy
from holdfast.drill.toxics import Direction

_COMMIT = re.compile(rb"\s*(COMMIT|END)(\s+(WORK|TRANSACTION))?\s*;?\s*", re.IGNORECASE)
_HEAD = 5  # a letter, and the length of what follows, itself included
# CommandComplete "COMMIT" and ReadyForQuery: what a server answers to it.
ANSWER_BYTES = len(b"C....COMMIT\0") + len(b"Z....I")


class Moment(Enum):
    """When a connection is cut, seen from its COMMIT."""

    BEFORE = "before COMMIT"  # the server never sees it
    INSIDE = "inside COMMIT"  # every connection, within milliseconds of one COMMIT
    ANSWER_LOST = "answer to COMMIT lost"
    AFTER = "after COMMIT"  # its answer, or as many bytes of another connection's, have passed


def is_commit(data: bytes) -> bool:
    """Whether client bytes carry a COMMIT, as a simple query or to be parsed; a value is none."""
    return any(_COMMIT.fullmatch(sql) for sql in _statements(data))


def arm(proxy: Proxy, moment: Moment, times: int, delay: float = 0.0) -> None:
    """Cut at *moment* of the next *times* COMMITs; *delay* (seconds) is for those from inside."""
    match moment:
        case Moment.BEFORE | Moment.ANSWER_LOST:
            proxy.cut_when(is_commit, before=moment is Moment.BEFORE, times=times)
        case Moment.INSIDE | Moment.AFTER:
            proxy.cut_when(_Fuse(proxy, moment, times, delay), before=True)


class _Fuse:
    """A predicate that never holds, but sets off what comes later. Called in the proxy's loop."""

    def __init__(self, proxy: Proxy, moment: Moment, times: int, delay: float) -> None:
        self._proxy, self._moment, self._times, self._delay = proxy, moment, times, delay

    def __call__(self, data: bytes) -> bool:
        if self._times > 0 and is_commit(data):
            self._times -= 1
            if self._moment is Moment.AFTER:
                self._proxy.cut_after(ANSWER_BYTES, Direction.DOWNSTREAM)
            else:
                asyncio.get_running_loop().call_later(self._delay, self._proxy.reset_all)
        return False


def _statements(data: bytes) -> Iterator[bytes]:
    """The SQL of the Query and Parse messages that *data* consists of."""
    while len(data) >= _HEAD:
        size = 1 + int.from_bytes(data[1:_HEAD], "big")
        body = data[_HEAD:size]
        if size < _HEAD or len(data) < size:
            return
        if data[:1] == b"Q":
            yield body.removesuffix(b"\0")
        elif data[:1] == b"P" and body.count(b"\0") >= 2:
            yield body.split(b"\0")[1]
        data = data[size:]
