"""Whether a statement only reads: decided from its text, in doubt no."""

from __future__ import annotations

import re
from functools import lru_cache

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_STRING = re.compile(r"'(?:[^']|'')*'")
_FIRST = re.compile(r"\s*\(*\s*([a-z]+)", re.IGNORECASE)
_CALL = re.compile(r"([a-z_][a-z0-9_.$]*|\")\s*\(", re.IGNORECASE)
_WRITES = re.compile(r"\b(insert|update|delete|merge|truncate|call|into|copy)\b", re.IGNORECASE)

_READING = frozenset({"select", "show", "explain", "values", "table", "with", "pragma"})
_FRAMING = frozenset({"begin", "start", "set", "savepoint", "release", "rollback", "reset", "discard"})
# Words that may stand before a bracket in a query, and functions known to change nothing.
_HARMLESS = frozenset(
    """
    abs all and any array array_agg as avg between bool_and bool_or by case cast ceil char_length
    coalesce concat count current_database current_schema date date_part date_trunc distinct else except
    exists extract false filter first_value floor from generate_series greatest group having if in
    intersect is join json_agg json_build_object json_extract jsonb_agg jsonb_build_object julianday lag
    last_value lateral lead least left length like limit lower ltrim max md5 min not now null nullif
    numeric offset on or order over partition pg_catalog.pg_table_is_visible pg_catalog.version rank
    recursive replace right round row row_number rtrim select similarity similar some split_part
    sqlite_version strftime string_agg strpos substr substring sum table then timestamp to_char to_date
    to_timestamp to_tsquery to_tsvector total trim true typeof union unnest upper using values varchar
    version when where window with within
    """.split()  # noqa: SIM905 - a list of words reads best as one
)


@lru_cache(maxsize=4096)
def reads_only(statement: str) -> bool:
    """Whether *statement* certainly changes nothing.

    A query that calls a function not known here may change something, so it does not count as
    reading; neither does a common table expression that contains a writing word.
    """
    text = _STRING.sub("''", _COMMENT.sub(" ", statement))
    first = _FIRST.match(text)
    word = first.group(1).lower() if first else ""
    if word in _FRAMING:
        return True
    if word not in _READING or _WRITES.search(text):
        return False
    return all(name.lower() in _HARMLESS for name in _CALL.findall(text))
