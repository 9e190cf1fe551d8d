"""An application's own words are told without a trace of what it was given (ENV-3)."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from holdfast.settings.words import masked, passwords, told_without_secrets, without_traces

SECRET = "Hunter2 &Sesame"


@pytest.mark.parametrize(
    "quoted",
    [SECRET, SECRET.lower(), SECRET.upper(), quote(SECRET), quote(SECRET).lower(), repr(SECRET)],
)
def test_a_secret_is_masked_however_it_is_written(quoted: str) -> None:
    """ENV-3."""
    assert "hunter2" not in masked(f"what is {quoted}?", [SECRET]).lower()
    assert "unter2" not in masked("what is %55nter2?", ["%55nter2"]).lower()


def test_a_secret_given_quoted_is_masked_where_it_is_decoded() -> None:
    assert masked("what is p@ss/word?", ["p%40ss%2Fword"]) == "what is ***?"


def test_what_is_round_a_secret_is_no_part_of_it() -> None:
    assert masked("what is hunter2?", ["  hunter2\n"]) == "what is ***?"


def test_a_very_short_secret_is_masked_as_a_word_of_its_own() -> None:
    assert masked("an ox in a box", ["ox"]) == "an *** in a box"


@pytest.mark.parametrize("word", ["true", "", "  ", "None"])
def test_what_cannot_be_a_secret_masks_nothing(word: str) -> None:
    assert without_traces("is true or None", [word]) == "is true or None"


@pytest.mark.parametrize(
    "trace", [SECRET[:3], SECRET[-3:], SECRET[2:7], SECRET.title(), SECRET.replace(" ", "-"), SECRET[::1]]
)
def test_pieces_of_a_secret_are_traces_of_it(trace: str) -> None:
    """ENV-3: a validator tells where it begins, or makes a word of it."""
    assert without_traces(f"begins with {trace}.", [SECRET]).removesuffix(".").endswith("***")
    assert without_traces(f"begins with {trace}.", ["other"]) == f"begins with {trace}."


def test_a_secrets_length_is_told_by_nobody() -> None:
    """ENV-3: nor their length."""
    assert without_traces("has 15 characters, not 32", [SECRET]) == "has *** characters, not 32"
    assert without_traces("give 15 or 25", [SECRET]) == "give 15 or 25"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://app:hunter2@db/shop", {"hunter2"}),
        ("postgresql://app:hun/t@er2@db/shop", {"hun/t@er2", "hun", "er2"}),
        ("postgresql://app:p@ss:w0rd@db/shop", {"p@ss:w0rd", "ss", "w0rd"}),
        ("postgresql://app@db/shop", set()),
        ("https://shop.example/a:b", set()),
        ("app:hunter2@db", set()),
        ("", set()),
    ],
)
def test_the_password_of_a_url_is_a_secret_of_its_own(url: str, found: set[str]) -> None:
    """ENV-3: so are the pieces that a library makes of one whose @ and : are not encoded."""
    assert {one for one in passwords(url) if one} == found


def test_words_that_nobody_foresaw_are_told_without_the_secrets_of_the_environment() -> None:
    """ENV-3: but what a URL shows of itself stays readable, though it be the password as well."""
    environ = {
        "SHOP_DB": "postgresql+asyncpg://app:p@ss:w0rd@127.0.0.1:5432/db",
        "DATABASE_URL": "postgres://postgres:postgres@localhost/shop",
        "API_TOKEN": "open-sesame",
    }

    assert (
        told_without_secrets("no number: 'w0rd@db:1', open-sesame", environ) == "no number: '***@db:1', ***"
    )
    assert told_without_secrets("no dialects:postgres", environ) == "no dialects:postgres"
