"""A toxic turns pieces into pieces: later, smaller, fewer; never others."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.drill.toxics import (
    Bandwidth,
    Latency,
    LimitData,
    Memory,
    Piece,
    ResetPeer,
    Slicer,
    SlowClose,
    Then,
    Timeout,
    Toxic,
    ends_after,
    plan,
)

END = Piece(10.0, b"", Then.END)


def planned(toxic: Toxic, *pieces: Piece, memory: Memory | None = None, seed: int = 0) -> list[Piece]:
    return plan(toxic, pieces, memory or Memory(), Random(seed))


def test_latency_delays_by_milliseconds() -> None:
    assert planned(Latency(500), Piece(10.0, b"x")) == [Piece(10.5, b"x")]


@given(seed=st.integers())
def test_jitter_stays_within_its_bounds_and_never_goes_back_in_time(seed: int) -> None:
    (piece,) = planned(Latency(100, jitter=200), Piece(10.0, b"x"), seed=seed)

    assert 10.0 <= piece.due_at <= 10.3


def test_bandwidth_spends_time_on_each_byte_and_remembers_it() -> None:
    memory = Memory()

    first = planned(Bandwidth(rate=1), Piece(10.0, bytes(500)), memory=memory)
    second = planned(Bandwidth(rate=1), Piece(10.0, bytes(500)), memory=memory)

    assert [first[0].due_at, second[0].due_at] == [10.5, 11.0]


def test_slow_close_delays_only_the_end() -> None:
    assert planned(SlowClose(500), Piece(10.0, b"x"), END) == [
        Piece(10.0, b"x"),
        Piece(10.5, b"", Then.END),
    ]


def test_timeout_takes_the_data_and_leaves_the_end() -> None:
    assert planned(Timeout(0), Piece(10.0, b"x"), END) == [END]


def test_reset_peer_leaves_data_alone() -> None:
    assert planned(ResetPeer(), Piece(10.0, b"x"), END) == [Piece(10.0, b"x"), END]


def test_limit_data_cuts_at_the_byte_and_closes() -> None:
    memory = Memory()

    first = planned(LimitData(5), Piece(10.0, b"123"), memory=memory)
    second = planned(LimitData(5), Piece(10.0, b"456"), memory=memory)

    assert first == [Piece(10.0, b"123")]
    assert second == [Piece(10.0, b"45", Then.CLOSE)]


@given(data=st.binary(), size=st.integers(1, 20), spread=st.integers(0, 20), seed=st.integers())
def test_the_slicer_loses_adds_and_reorders_nothing(data: bytes, size: int, spread: int, seed: int) -> None:
    pieces = planned(Slicer(size, spread, delay=1000), Piece(10.0, data, Then.RESET_ON_ANSWER), seed=seed)

    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.due_at for piece in pieces] == sorted(piece.due_at for piece in pieces)
    assert [piece.then for piece in pieces[:-1]] == [Then.GO_ON] * (len(pieces) - 1)
    assert pieces[-1].then is Then.RESET_ON_ANSWER
    assert all(len(piece.data) <= size + spread for piece in pieces)


@pytest.mark.parametrize(
    "toxic", [Latency(1), Bandwidth(1), SlowClose(1), Timeout(1), Slicer(1), LimitData(9)]
)
def test_the_end_of_a_stream_survives_every_toxic(toxic: Toxic) -> None:
    assert [piece.then for piece in planned(toxic, END)] == [Then.END]


def test_only_reset_peer_and_a_timeout_above_zero_end_a_connection_by_themselves() -> None:
    assert ends_after(ResetPeer(100)) == (0.1, Then.RESET)
    assert ends_after(Timeout(100)) == (0.1, Then.CLOSE)
    assert ends_after(Timeout(0)) is None
    assert ends_after(Latency(100)) is None
