"""Files of NAME=value lines, with the comments that explain them, read as python-dotenv reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TRAILING = re.compile(r"""=\s*(?:'[^']*'|"[^"]*"|[^'"#\s](?:[^\r\n]*?))?\s*(?:(?<=\s)|(?<=['"]))#\s*(.*)""")


@dataclass(frozen=True, slots=True)
class Line:
    """One statement of a file; `name` is empty when it could not be read.

    `value` is None for a name without an equals sign. `comment` is what stands above the name,
    up to a blank line, or else behind it.
    """

    number: int
    name: str
    value: str | None
    comment: str


def read_lines(path: Path) -> list[Line]:
    """The statements of the file at *path*.

    Raises OSError when it cannot be opened and UnicodeDecodeError when it is not UTF-8.
    """
    from dotenv.parser import parse_stream  # takes 20 ms, and many applications have no such file

    lines: list[Line] = []
    above: list[str] = []
    with path.open(encoding="utf-8-sig") as stream:
        for binding in parse_stream(stream):
            written = binding.original.string
            stripped = written.strip()
            if written.lstrip(" \t")[:1] in "\r\n":
                above.clear()
            if binding.key is None and not binding.error:
                if stripped:
                    above.append(stripped.lstrip("#").strip())
                continue
            number = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
            name = "" if binding.error else binding.key or ""
            lines.append(Line(number, name, binding.value, " ".join(above) or _behind(stripped)))
            above.clear()
    return lines


def _behind(written: str) -> str:
    found = _TRAILING.search(written)
    return found[1].strip() if found else ""


def resolved(value: str, known: Mapping[str, str]) -> str:
    """*value* with each `${NAME}` and `${NAME:-default}` replaced from *known*."""
    if "${" not in value:
        return value
    from dotenv.variables import parse_variables

    return "".join(atom.resolve(known) for atom in parse_variables(value))
