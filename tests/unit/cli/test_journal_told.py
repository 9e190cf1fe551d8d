"""Journaled requests as people read them: ages, sizes, bodies of all kinds, no secret."""

from __future__ import annotations

import json

import pytest

from holdfast.cli.journal_told import age, record, size, table
from holdfast.work.entry import Entry, New


def entry(body: bytes, kind: bytes = b"application/json", cause: str = "") -> Entry:
    new = New("n", "k", "o", "POST", "/orders", ((b"Content-Type", kind),), body, None, 1000.0)
    return Entry(1, new, cause=cause)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-1, "0s"),
        (42, "42s"),
        (119, "119s"),
        (120, "2m"),
        (3600, "1h"),
        (7199, "1h"),
        (90000, "1d"),
        (200000, "2d"),
    ],
)
def test_ages(seconds: float, told: str) -> None:
    assert age(seconds) == told


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")]
)
def test_sizes(count: int, told: str) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"", b"application/json", None),
        (b'{"password": "x"}', b"application/json", {"password": "***"}),
        (b'{"password": "x"}', b"text/plain", {"password": "***"}),
        (b"a=1&password=x", b"application/x-www-form-urlencoded", [{"a": "1"}, {"password": "***"}]),
        (b"password=x", b"text/plain", "password=***"),
        (b"\xff\xfe\x00", b"image/png", "<3 bytes>"),
    ],
)
def test_bodies_are_redacted(body: bytes, kind: bytes, told: object) -> None:
    assert json.loads(record(entry(body, kind), raw=False))["body"] == told


def test_a_raw_body_that_is_no_text_is_in_base_64() -> None:
    told = json.loads(record(entry(b"\xff\xfe", b"image/png"), raw=True))

    assert told["bodyBase64"] == "//4="


def test_long_causes_are_cut_to_one_line() -> None:
    (_, row) = table([entry(b"", cause="a\nb" * 100)], 1000.0).splitlines()

    assert row.endswith("…")
    assert len(row) < 160
