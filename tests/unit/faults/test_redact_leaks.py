"""RED-1: secrets in places that are easily overlooked; RED-2: what cannot be read hides itself only."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from holdfast.faults.redact import redact, redact_text

TEXTS = {
    "4111111111111111,5555555555554444": "***,***",
    "4111111111111111.5555555555554444": "***.***",
    "4111\xa01111\xa01111\xa01111": "***",
    "4111  1111  1111  1111": "***",
    "4111\u20111111\u20111111\u20111111": "***",
    "29 4111 1111 1111 1111": "29 ***",
    "4222222222222 4111 1111 1111 1111": "***",
    "dbpass=hunter2": "dbpass=***",
    "USERPASS: hunter2": "USERPASS: ***",
    "cc_number=12 x": "cc_number=*** x",
    "csrf=abc&page=2": "csrf=***&page=2",
    "xsrfmiddleware: abc": "xsrfmiddleware: ***",
    "GET /a?X-Amz-Date=1&X-Amz-Signature=0af3&x=1": "GET /a?X-Amz-Date=1&X-Amz-Signature=***&x=1",
    "GET /a?Expires=1&Signature=a%2Fb": "GET /a?Expires=1&Signature=***",
    "https://x.blob.example.net/c?sv=2020&sig=ab%3D&se=1": (
        "https://x.blob.example.net/c?sv=2020&sig=***&se=1"
    ),
    "with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw now": "with *** now",
    "to postgresql://app:se cret@db/shop now": "to postgresql://app:***@db/shop now",
    "to https://app:se cret wide@host/a@b now": "to https://app:***@host/a@b now",
    "ValueError: invalid literal for int() with base 10: 'w0rd@db:5432'": (
        "ValueError: invalid literal for int() with base 10: '***@db:5432'"
    ),
    '{"name": "password", "value": "x y"}': '{"name": "password", "value": "***"}',
    "{'key': 'DB_PASSWORD', 'value': 'x', 'n': 1}": "{'key': 'DB_PASSWORD', 'value': '***', 'n': 1}",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_is_found_where_it_is_easily_overlooked(text: str) -> None:
    """RED-1."""
    assert redact_text(text) == TEXTS[text]


@pytest.mark.parametrize(
    "text",
    [
        "ratio 0.4111111111111111 of 1",
        "passed: 3, bypass: on, compass: north, design: flat, signature of f(x): int",
        "redis://cache:6379 for bob@example.org",
        "phone 4111 1111\n1111 1111",
    ],
)
def test_what_only_resembles_one_stays(text: str) -> None:
    """RED-1."""
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "a basic understanding of it, Basic introductions.",
        "tokens: 15 used",
        "pass: 3 fail: 2",
        "pass=12, failed=0",
        "password:\nuser: x",
        "password:\r\n  host = db",
    ],
)
def test_useful_text_that_only_begins_like_a_secret_stays(text: str) -> None:
    """RED-1."""
    assert redact_text(text) == text


DOUBTFUL = {
    "basic YWRhOnB3": "basic ***",
    "basic bGtqOmFiYw": "basic ***",
    "basic understanding1": "basic ***",
    "basic eGp6dnp6eg": "basic ***",
    "basic wjrlfwwxotcd": "basic ***",  # base64 of what has a colon in it
    "bearer understanding": "bearer ***",
    "tokens: 123456": "tokens: ***",
    "tokens: 12345, 67890": "tokens: ***, 67890",
    "token: 15 used": "token: *** used",
    "pass: 1234": "pass: ***",
    "password: 3 fail: 2": "password: *** fail: 2",
    "password:\nhunter2": "password:\n***",
    "password:\nhunter2: x": "password:\n*** x",
    "password: user=x": "password: ***",
    "password:\ntoken: hunter2": "password:\n***",
}


@pytest.mark.parametrize("text", DOUBTFUL)
def test_what_may_be_a_secret_is_masked_in_doubt(text: str) -> None:
    """RED-1: a leak is never traded for a nicer text."""
    assert redact_text(text) == DOUBTFUL[text]


class Account(NamedTuple):
    user: str
    password: str
    age: int


class Header(NamedTuple):
    name: str
    value: str


VALUES = [
    (Account("bob", "hunter2", 7), ["bob", "***", 7]),
    ([Header("password", "x")], [["password", "***"]]),
    ({"name": "password", "value": "x", "n": 1}, {"name": "password", "value": "***", "n": 1}),
    ({"Value": ["x"], "Key": "api-key"}, {"Value": "***", "Key": "api-key"}),
    ({"field": "password", "old": "x", "new": "y"}, {"field": "password", "old": "***", "new": "***"}),
    ({"name": "colour", "value": "red"}, {"name": "colour", "value": "red"}),
    ([["password", "x"], ["user", "bob"]], [["password", "***"], ["user", "bob"]]),
    ({"dbpass": "x", "userPass": "y", "cc_number": 1, "csrf": "z", "sig": "a"}, dict.fromkeys(
        ["dbpass", "userPass", "cc_number", "csrf", "sig"], "***")),
    ({"X-Amz-Signature": "x"}, {"X-Amz-Signature": "***"}),
    ({4111111111111111: 1}, {"***": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "told"), VALUES)
def test_a_secret_in_a_structure_is_known_by_the_name_that_belongs_to_it(value: object, told: object) -> None:
    """RED-1: the name of a field, or one that stands beside the value."""
    assert redact(value) == told


class Hostile:
    def __str__(self) -> str:
        raise ValueError("no")


class HostileList(list[object]):
    def __iter__(self) -> object:  # type: ignore[override]
        raise ValueError("no")


def test_a_value_that_cannot_be_read_hides_itself_only() -> None:
    """RED-2."""
    released = memoryview(b"x")
    released.release()

    assert redact([1, Hostile(), 2]) == [1, "<Hostile>", 2]
    assert redact({"a": HostileList([1]), "b": released, "c": 3}) == {
        "a": "<HostileList>",
        "b": "<memoryview>",
        "c": 3,
    }
    assert redact({Hostile(): 1, "b": 2}) == {"<Hostile>": 1, "b": 2}


def test_a_number_too_long_to_be_written_is_told_by_its_size() -> None:
    """RED-2: Python refuses to write it, and so does whoever writes the line."""
    large = 10**5000

    assert redact({"n": large, "m": -large, "user": "ada"}) == {
        "n": "<int of 16610 bits>",
        "m": "<int of 16610 bits>",
        "user": "ada",
    }
    assert redact({large: 1}) == {"<int of 16610 bits>": 1}
    assert redact([10**30, -3, True]) == [10**30, -3, True]
