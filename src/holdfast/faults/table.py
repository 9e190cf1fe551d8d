"""The entries of the tables: a class of exceptions means a verdict, or has one read from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from holdfast.faults.category import Fault

# Reads an exception; told whether a database stands behind it. None leaves it to the next base class.
Reader = Callable[[BaseException, bool], Fault | None]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """An exception to look into; *otherwise* is its verdict when that tells nothing."""

    otherwise: Fault


Entry = Fault | Reader | Wrapper
Table = Mapping[str, Entry]  # by qualified name of the class
