"""REQ-4: nothing that writes ever counts as reading, however it is dressed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.databases.reading import reads_only

WRITING = st.sampled_from(["insert", "update", "delete", "merge", "INSERT", "Update", "dElEtE", "MERGE"])
READING = st.sampled_from(
    ["select 1", "SHOW x", "values (1)", "with a as (select 1) select 2", "BEGIN", "set x=1"]
)
# Pieces that are whole by themselves: a writing word between two of them stands in the open.
PIECES = st.sampled_from(
    ["''", "'it''s'", "'--'", "'/*'", '"x--"', '"/*"', "/* ' */", "/* -- */", "-- '\n", "-- /*\n", " ", "\n",
     "(", ")", ",", ".", ";", "a", "1", "lower(x)", "'insert'", "/* delete */", "$1", "%(x)s"]
)  # fmt: skip


@given(READING, st.lists(PIECES, max_size=12), WRITING, st.lists(PIECES, max_size=12))
@settings(max_examples=500)
def test_a_writing_word_in_the_open_is_never_reading(
    start: str, before: list[str], word: str, after: list[str]
) -> None:
    statement = " ".join([start, *before, word, *after])

    assert not reads_only(statement)


@given(READING, st.lists(PIECES, max_size=12), st.sampled_from(["do_write", "nextval", "x.count", "é"]))
def test_an_unknown_function_in_the_open_is_never_reading(start: str, before: list[str], name: str) -> None:
    statement = " ".join([start, *before, f"{name} (1)"])

    assert not reads_only(statement)


@given(READING, st.lists(PIECES, max_size=12), st.text(min_size=1))
def test_a_second_statement_is_never_reading(start: str, before: list[str], second: str) -> None:
    statement = " ".join([start, *before, "; x", second])

    assert not reads_only(statement)


@given(st.text(alphabet=st.characters(exclude_characters="'\\")))
def test_what_stands_in_a_string_does_not_matter(text: str) -> None:
    assert reads_only(f"SELECT 1 WHERE x = '{text}'") or "/*" in text


@given(st.text() | st.text(alphabet="'\"`/*-# \n;$selctin()\\E"))
@settings(max_examples=500)
def test_every_text_gets_an_answer(text: str) -> None:
    assert reads_only(text) in (True, False)


@given(st.text(alphabet="'\"`/*-# \n;$a()\\E"), WRITING)
@settings(max_examples=500)
def test_a_statement_that_begins_by_writing_is_never_reading(text: str, word: str) -> None:
    assert not reads_only(f"{word} {text}")
