"""What each fault does to a piece of a stream, as values: no waiting, no clock, no dice of its own.

Names and units are Toxiproxy's (milliseconds, kilobytes a second, bytes; the slicer's delay is in
microseconds), so that whoever knows its toxics knows these. A toxic turns pieces into pieces: later
ones, smaller ones, fewer. The proxy carries out what the pieces say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random
from typing import assert_never


class Direction(Enum):
    """Which way a stream flows: from the client up to the server, or down from it."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class Path(Enum):
    """What the way between client and server does with bytes, before any toxic."""

    PASS = "pass"  # noqa: S105 - not a password
    STALL = "stall"  # held, delivered in order after heal
    BLACK_HOLE = "black hole"  # gone, and so is whatever connection lost one
    REFUSE = "refuse"  # nobody listens


class Then(Enum):
    """What happens to the connection after a piece was delivered."""

    GO_ON = "go on"
    END = "end"  # this direction is finished: a half-close
    CLOSE = "close"
    RESET = "reset"
    RESET_ON_ANSWER = "reset on answer"  # the other side's next bytes are replaced by a reset


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that may leave at `due_at` (monotonic seconds), and what happens then."""

    due_at: float
    data: bytes
    then: Then = Then.GO_ON


@dataclass(frozen=True, slots=True)
class Latency:
    """Each byte arrives `latency` ± `jitter` ms late; throughput is not touched."""

    latency: int
    jitter: int = 0


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `rate` kilobytes a second."""

    rate: float


@dataclass(frozen=True, slots=True)
class SlowClose:
    """The end of the stream is told `delay` ms late."""

    delay: int


@dataclass(frozen=True, slots=True)
class Timeout:
    """Data vanishes; after `timeout` ms the connection is closed, with 0 it stays open for ever."""

    timeout: int


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """The connection is reset after `timeout` ms."""

    timeout: int = 0


@dataclass(frozen=True, slots=True)
class Slicer:
    """Data is cut into pieces of `average_size` ± `size_variation` bytes, `delay` µs apart."""

    average_size: int
    size_variation: int = 0
    delay: int = 0


@dataclass(frozen=True, slots=True)
class LimitData:
    """The connection is closed once `bytes` bytes have passed."""

    bytes: int


Toxic = Latency | Bandwidth | SlowClose | Timeout | ResetPeer | Slicer | LimitData


@dataclass(frozen=True, slots=True)
class Applied:
    """A toxic in force: on which direction, and with which chance for each connection."""

    toxic: Toxic
    direction: Direction
    toxicity: float = 1.0


@dataclass(slots=True)
class Memory:
    """What one toxic remembers about one stream; owned by that stream."""

    passed: int = 0
    free_at: float = field(default=float("-inf"))


def plan(toxic: Toxic, pieces: Iterable[Piece], memory: Memory, dice: Random) -> list[Piece]:
    """What becomes of *pieces* under *toxic*; *memory* is updated."""
    match toxic:
        case Latency():
            return [_delayed(piece, _around(toxic.latency, toxic.jitter, dice) / 1000) for piece in pieces]
        case Bandwidth():
            return [_throttled(piece, toxic.rate * 1000, memory) for piece in pieces]
        case SlowClose():
            return [_delayed(piece, _closing(piece) * toxic.delay / 1000) for piece in pieces]
        case Timeout():
            return [replace(piece, data=b"") for piece in pieces if piece.then is not Then.GO_ON]
        case ResetPeer():
            return list(pieces)  # the proxy's timer resets
        case Slicer():
            return [slice_ for piece in pieces for slice_ in _slices(toxic, piece, dice)]
        case LimitData():
            return list(_limited(toxic.bytes, pieces, memory))
        case _:
            assert_never(toxic)


def ends_after(toxic: Toxic) -> tuple[float, Then] | None:
    """When (in seconds from its start on a connection) and how *toxic* ends it, whatever flows."""
    match toxic:
        case ResetPeer():
            return toxic.timeout / 1000, Then.RESET
        case Timeout() if toxic.timeout > 0:
            return toxic.timeout / 1000, Then.CLOSE
        case _:
            return None


def _delayed(piece: Piece, seconds: float) -> Piece:
    return replace(piece, due_at=piece.due_at + max(0.0, seconds))


def _throttled(piece: Piece, rate: float, memory: Memory) -> Piece:
    memory.free_at = max(piece.due_at, memory.free_at) + len(piece.data) / rate
    return replace(piece, due_at=memory.free_at)


def _closing(piece: Piece) -> bool:
    return piece.then in (Then.END, Then.CLOSE)


def _around(middle: int, spread: int, dice: Random) -> int:
    return middle + dice.randint(-spread, spread) if spread else middle


def _slices(slicer: Slicer, piece: Piece, dice: Random) -> Iterator[Piece]:
    rest, due_at = piece.data, piece.due_at
    while True:
        size = max(1, _around(slicer.average_size, slicer.size_variation, dice))
        if len(rest) <= size:
            yield Piece(due_at, rest, piece.then)
            return
        yield Piece(due_at, rest[:size])
        rest, due_at = rest[size:], due_at + slicer.delay / 1_000_000


def _limited(limit: int, pieces: Iterable[Piece], memory: Memory) -> Iterator[Piece]:
    for piece in pieces:
        left = limit - memory.passed
        memory.passed += len(piece.data)
        if memory.passed >= limit and piece.data:
            yield Piece(piece.due_at, piece.data[:left], Then.CLOSE)
            return
        yield piece
