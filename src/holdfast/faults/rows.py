"""Values of rows in what databases and their libraries say about a failure: masked, names kept.

PostgreSQL's DETAIL, SQLAlchemy's parameters and statement, asyncpg's, MySQL's, MongoDB's and
pydantic's ways of quoting what they were given.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A value may hold line breaks; what follows it in the text begins with one of these.
_BLOCK = re.compile(
    r"(?:\r?\n|\\n)"
    r"(?:\[SQL: |\[parameters: |\(Background on |HINT: |CONTEXT: |LINE \d|Traceback "
    r"|[ \t]{0,200}\^[ \t]{0,8}(?:[\r\n]|\\n|\Z))"
    r"|(?:\r?\n){2}The above |(?:\r?\n){2}During handling"
)
_KEY = re.compile(r"\)=\(")
_KEY_END = re.compile(
    r"\)(?= (?:already exists|is not present in|is still referenced from|conflicts with|is duplicated))"
)
_FAILING = re.compile(r"row contains \(", re.IGNORECASE)
_PARAMETERS = re.compile(
    r"\[parameters: |\[(?:generated in|cached since|no key|caching disabled)[^\]\n]{0,40}\] (?=[({\[])"
)
_QUOTE = r"""(?:"(?:\\.|[^"\\\n])*+"?|'(?:\\.|''|[^'\\\n])*+'?)"""
_SAID = re.compile(
    r"(?P<before>invalid input (?:syntax|value) for [^:\n]{1,80}: "
    r"|invalid input for query argument \$\d{1,5}[^:\n]{0,80}: "
    r"|out of range(?: for type [\w ]{1,40})?: "
    r"|invalid value (?=\")"
    r"|\bvalue (?=\"[^\n]{0,400}?\" is out of range)"
    r"|\btoken (?=\")"
    r"|malformed \w{1,20} literal: "
    r"|duplicate entry |incorrect [\w ]{1,40} value: "
    r"|\$\d{1,5} = (?=[\"'])"
    r"|JSON data, line \d{1,12}: "
    r"|COPY \w{1,64}, line \d{1,12}(?:, column \w{1,64})?: )"
    rf"(?P<value>{_QUOTE}|[^\s\"'][^\n]*+)",
    re.IGNORECASE,
)
_SAID_GATE = (
    "invalid ",
    "out of range",
    'token "',
    "malformed ",
    "duplicate entry ",
    "incorrect ",
    "$",
    ", line ",
)
_DUPLICATE_KEY = re.compile(r"dup key: \{[^\n}]*+\}?", re.IGNORECASE)
_INPUT_VALUE = re.compile(r"input_value=(?:(?!, input_type=)[^\n])*+")
_STATEMENT = re.compile(r"\[SQL: |LINE \d{1,6}: ")
_LITERAL = re.compile(r"\b[eE]'(?:\\.|''|[^'\\])*+'?|'(?:''|[^'])*+'?", re.DOTALL)


def mask_rows(text: str, low: str, mask: str) -> str:
    """*text* without the values of rows; *low* is the same in lower case, to look before leaping."""
    if "[sql: " in low or "line " in low:
        text = _mask_statements(text, mask)
    if ")=(" in low:
        text = _mask_spans(text, _KEY, mask, _key_end)
    if "row contains (" in low:
        text = _mask_spans(text, _FAILING, mask, _row_end)
    if "[" in low:
        text = _mask_spans(text, _PARAMETERS, mask, _parameters_end)
    return text


def mask_quoted(text: str, low: str, mask: str) -> str:
    """*text* without the one value that a message quotes; after names, lest one be taken for a value."""
    if "dup key" in low:
        text = _DUPLICATE_KEY.sub(lambda _: f"dup key: {{{mask}}}", text)
    if "input_value=" in low:
        text = _INPUT_VALUE.sub(lambda _: f"input_value={mask}", text)
    if any(map(low.__contains__, _SAID_GATE)):
        text = _SAID.sub(lambda found: f"{found['before']}{mask}", text)
    return text


def _mask_spans(text: str, begin: re.Pattern[str], mask: str, end: Callable[[str, int, int], int]) -> str:
    """*text* with what lies between each *begin* and its *end* masked."""
    kept, at, stop = [], 0, 0
    while found := begin.search(text, at):
        if found.end() > stop or not stop:
            stop = _block_end(text, found.end())
        kept += [text[at : found.end()], mask]
        at = end(text, found.end(), stop)
    return "".join([*kept, text[at:]]) if kept else text


def _mask_statements(text: str, mask: str) -> str:
    """The literals in statements that SQLAlchemy and libpq quote."""
    kept, at = [], 0
    while found := _STATEMENT.search(text, at):
        stop = _block_end(text, found.end())
        kept += [text[at : found.end()], _LITERAL.sub(lambda _: f"'{mask}'", text[found.end() : stop])]
        at = stop
    return "".join([*kept, text[at:]]) if kept else text


def _block_end(text: str, start: int) -> int:
    """Where what a database said ends and the next part of the report begins."""
    found = _BLOCK.search(text, start)
    return found.start() if found else len(text)


def _key_end(text: str, start: int, stop: int) -> int:
    """Where the values of a ``Key (a, b)=(1, x)`` end, in any language of the server."""
    known = _KEY_END.search(text, start, stop)
    return known.start() if known else _row_end(text, start, stop)


def _row_end(text: str, start: int, stop: int) -> int:
    last = text.rfind(")", start, stop)
    return last if last >= 0 else stop


def _parameters_end(text: str, start: int, stop: int) -> int:
    line = text.find("\n", start) if stop == len(text) else stop
    end = stop if line < 0 else line
    return end - 1 if end > start and text[end - 1] == "]" else end
