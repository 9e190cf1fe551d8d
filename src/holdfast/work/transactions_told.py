"""A statement as it may be told: its kind, its table and its text without a single value. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST = 20  # operations told of one transaction
LONGEST = 200  # characters of one

# From left to right: whichever opens first hides the others.
_VALUES = re.compile(
    r"""(?P<text>'(?:[^']|'')*') | (?P<name>"(?:[^"]|"")*" | `[^`]*`)
      | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
      | (?P<comment>/\*.*?\*/ | --[^\n]*)
      | (?P<number>(?<![\w$:?%.])\d[\w.]*)""",
    re.DOTALL | re.VERBOSE,
)
# Text that servers read in different ways, or that is never closed: where a value ends is a guess.
_DOUBTFUL = re.compile(r"\\|/\*!|/\*.*/\*|\#", re.DOTALL)
_LEFT_OPEN = re.compile(r"'|/\*|\$\$")
_KIND = re.compile(r"[\s(]*([a-z]+)", re.IGNORECASE)
_NAME = r"(?:[^\W\d]\w*|\"[^\"]+\"|`[^`]+`)"
_TABLE = re.compile(
    rf"\b(?:into|update(?:\s+only)?|from(?:\s+only)?|table|join)\s+({_NAME}(?:\.{_NAME})?)", re.IGNORECASE
)


def told(statement: str, quote: str = '"') -> str:
    """*statement* as ``UPDATE stock: UPDATE stock SET left = ? WHERE id = $1``, in one bounded line.

    Names of places for values stay, values themselves never do. *quote* is what the dialect puts
    round names: what stands in double quotes elsewhere may be a value. Where it cannot be told
    what is a value, only the kind is told.
    """
    kind = _KIND.match(statement)
    word = kind.group(1).upper()[:12] if kind else "STATEMENT"
    if _DOUBTFUL.search(statement):
        return word

    def masked(found: re.Match[str]) -> str:
        if found["comment"]:
            return " "
        name = found["name"]
        return name if name and (name[0] == "`" or quote == '"') else "?"

    plain = " ".join(_VALUES.sub(masked, statement).split())
    if _LEFT_OPEN.search(plain):
        return word
    table = _TABLE.search(plain)
    return f"{word} {table.group(1)}: {plain}"[:LONGEST] if table else plain[:LONGEST]


def told_all(latest: Iterable[str], count: int, quote: str = '"') -> tuple[str, ...]:
    """At most `MOST` of the *count* statements sent, of which *latest* are the last `MOST`."""
    lines = [told(one, quote) for one in latest]
    if count > len(lines):
        lines = [f"{count - len(lines) + 1} more before", *lines[1:]]
    return tuple(lines)
