"""Whether a statement only reads: decided from its text, in doubt no."""

from __future__ import annotations

import re
from functools import lru_cache

# Strings, quoted names and comments, from left to right: whichever opens first hides the others.
_HIDDEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[\w$ -]*` | /\*.*?\*/ | --(?=\s|$)[^\n]*""",
    re.DOTALL | re.VERBOSE,
)
# Hidden text that servers read in different ways: escapes, comments that MySQL runs, nested ones.
_DOUBTFUL = re.compile(r"\\|/\*!|/\*.*/\*", re.DOTALL)
# What is left in the open and may hide or follow: something never closed, a comment of MySQL's, a
# dollar quote, a second statement.
_UNSURE = re.compile(r"['`]|/\*|\*/|--|#(?![>-])|\$(?:[^\W\d]\w*)?\$|;\s*[^\s;]")
_FIRST = re.compile(r"\s*\(*\s*([a-z]+)", re.IGNORECASE)
_CALL = re.compile(r"((?:\.\s*|(?<![\w$]))[^\W\d][\w.$]*|[\"\]])\s*\(")
_WRITES = re.compile(r"\b(insert|update|delete|merge|truncate|call|into|copy)\b", re.IGNORECASE)
_COMMITS = re.compile(r"(?:^|;)\s*(?:commit|end)\b", re.IGNORECASE)
_ENDS = r"(?:(commit|end)|rollback(?!(?:\s+(?:work|transaction))?\s+to\b)|abort)\b"
_BEGINS_WITH_END = re.compile(r"(?:\s|--[^\n]*\n)*" + _ENDS, re.IGNORECASE)
_UNCERTAIN = re.compile(r"['#]|--")  # an open quote, or what only some servers take for a comment
_HOLDS_END = re.compile(r";\s*" + _ENDS, re.IGNORECASE)
_PROGRAM = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
_RUNS = re.compile(r"\banaly[sz]e\b", re.IGNORECASE)

_READING = frozenset({"select", "show", "explain", "values", "table", "with", "pragma"})
_CHANGING = frozenset({"insert", "update", "delete", "merge"})
_BLOCKS = frozenset({"alter", "begin", "create", "declare"})
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
    recursive replace right round row row_number rtrim select set_config similarity similar some split_part
    sqlite_version strftime string_agg strpos substr substring sum table then timestamp to_char to_date
    to_timestamp to_tsquery to_tsvector total trim true typeof union unnest upper using values varchar
    version when where window with within
    """.split()  # noqa: SIM905 - a list of words reads best as one
)


@lru_cache(maxsize=4096)
def reads_only(statement: str) -> bool:
    """Whether *statement* certainly changes nothing.

    A query that calls a function not known here may change something, so it does not count as
    reading; neither does one that contains a writing word outside strings and comments, nor text
    that servers may read in different ways.
    """
    text = _HIDDEN.sub(_without, statement)
    if _UNSURE.search(text) or _WRITES.search(text):
        return False
    first = _FIRST.match(text)
    word = first.group(1).lower() if first else ""
    if word not in _READING and word not in _FRAMING:
        return False
    if (word == "explain" and _RUNS.search(text)) or (word == "pragma" and "=" in text):
        return False
    return all(name.lower() in _HARMLESS for name in _CALL.findall(text))


@lru_cache(maxsize=256)
def commits(statement: str) -> bool:
    """Whether *statement*, one that does not only read, ends its transaction by itself.

    Text between dollar quotes is a program's: what it ends are its own blocks.
    """
    return _COMMITS.search(_PROGRAM.sub(" ", _HIDDEN.sub(_without, statement))) is not None


@lru_cache(maxsize=4096)
def ends_transaction(statement: str) -> str:
    """COMMIT or ROLLBACK, if *statement* is certainly one, or holds one behind others; else nothing.

    A ROLLBACK to a savepoint is none. What a program ends are its own blocks: between dollar quotes,
    and in what creates a trigger or a function.
    """
    text = _PROGRAM.sub(" ", _HIDDEN.sub(_without, statement))
    found = _BEGINS_WITH_END.match(text)
    first = _FIRST.match(text)
    blocks = first is not None and first.group(1).lower() in _BLOCKS
    if found is None and not blocks and not _UNCERTAIN.search(text):
        found = _HOLDS_END.search(text)
    if found is None:
        return ""
    return "COMMIT" if found.group(1) else "ROLLBACK"


@lru_cache(maxsize=1024)
def changes_rows(statement: str) -> bool:
    """Whether *statement* is one INSERT, UPDATE, DELETE or MERGE: it may stand in any transaction."""
    text = _HIDDEN.sub(_without, statement)
    first = _FIRST.match(text)
    return first is not None and first.group(1).lower() in _CHANGING and not _UNSURE.search(text)


def _without(hidden: re.Match[str]) -> str:
    """What stands for a string, a quoted name or a comment; an open quote, if it is doubtful."""
    token = hidden.group()
    if _DOUBTFUL.search(token):
        return "'"
    return _STANDS_FOR.get(token[0], " ")


_STANDS_FOR = {"'": " 0 ", '"': '""', "`": '""'}
