"""Reads rows off the leaf pages of an SQLite file one by one, when the tree above them is broken.

A single bad page may be the root of a table: SQLite then finds none of its rows, though all are
there. The format is that of https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1. Pages that
the file says are free are left out: what stands on them was removed.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from holdfast.work.journal_sqlite_schema import PAGE

Row: TypeAlias = tuple[Any, ...]  # the number of the row, then its columns
_LEAF: Final = 0x0D  # of a table
_MOST_LOCAL: Final = PAGE - 35
_LEAST_LOCAL: Final = (PAGE - 12) * 32 // 255 - 23
_INTEGERS: Final = (0, 1, 2, 3, 4, 6, 8)  # bytes, by serial type
_REAL: Final = 7


class _UnreadableError(Exception):
    """It is not a row."""


def rows_on_pages(path: Path) -> Iterator[Row]:
    """Every row of every table that stands on a leaf page in use, in the order of the pages."""
    if path.stat().st_size < 2 * PAGE:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pages = len(data) // PAGE
        free = _free(data, pages)
        for number in range(2, pages + 1):  # the first page holds the schema
            at = (number - 1) * PAGE
            if data[at] == _LEAF and number not in free:
                yield from _rows(data, at, pages)


def _rows(data: mmap.mmap, at: int, pages: int) -> Iterator[Row]:
    cells = min(int.from_bytes(data[at + 3 : at + 5]), (PAGE - 8) // 2)
    for index in range(cells):
        pointer = int.from_bytes(data[at + 8 + 2 * index : at + 10 + 2 * index])
        try:
            yield _row(data, at, pointer, pages)
        except (_UnreadableError, UnicodeDecodeError, IndexError, struct.error):
            continue  # the next one may be whole


def _row(data: mmap.mmap, at: int, pointer: int, pages: int) -> Row:
    if not 8 <= pointer < PAGE:
        raise _UnreadableError
    size, start = _varint(data, at + pointer)
    number, start = _varint(data, start)
    if size > len(data):
        raise _UnreadableError
    local = size
    if size > _MOST_LOCAL:
        local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE - 4)
        local = local if local <= _MOST_LOCAL else _LEAST_LOCAL
    if start + local > at + PAGE:
        raise _UnreadableError
    payload = data[start : start + local]
    if local < size:
        payload += _overflow(
            data, int.from_bytes(data[start + local : start + local + 4]), size - local, pages
        )
    return (number, *_columns(payload))


def _overflow(data: mmap.mmap, page: int, left: int, pages: int) -> bytes:
    parts = []
    while left > 0:
        if not 1 < page <= pages:
            raise _UnreadableError
        at = (page - 1) * PAGE
        taken = min(left, PAGE - 4)
        parts.append(data[at + 4 : at + 4 + taken])
        left -= taken
        page = int.from_bytes(data[at : at + 4])
    return b"".join(parts)


def _columns(payload: bytes) -> Iterator[Any]:
    head, at = _varint(payload, 0)
    if not at <= head <= len(payload):
        raise _UnreadableError
    kinds = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != head:
        raise _UnreadableError
    for kind in kinds:
        length = _length(kind)
        if at + length > len(payload):
            raise _UnreadableError
        yield _value(kind, payload[at : at + length])
        at += length


def _length(kind: int) -> int:
    if kind < len(_INTEGERS):
        return _INTEGERS[kind]
    if kind == _REAL:
        return 8
    if kind in (8, 9):
        return 0
    if kind < 12:
        raise _UnreadableError
    return (kind - 12) // 2


def _value(kind: int, raw: bytes) -> Any:
    if kind == 0:
        return None
    if kind < len(_INTEGERS):
        return int.from_bytes(raw, signed=True)
    if kind == _REAL:
        return struct.unpack(">d", raw)[0]
    if kind in (8, 9):
        return kind - 8
    return raw.decode() if kind % 2 else bytes(raw)


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _free(data: mmap.mmap, pages: int) -> set[int]:
    """The pages that hold nothing, as far as the list of them can be followed."""
    free: set[int] = set()
    trunk = int.from_bytes(data[32:36])
    while 1 < trunk <= pages and trunk not in free:
        free.add(trunk)
        at = (trunk - 1) * PAGE
        count = int.from_bytes(data[at + 4 : at + 8])
        if count > PAGE // 4 - 2:
            break
        free.update(int.from_bytes(data[at + 8 + 4 * one : at + 12 + 4 * one]) for one in range(count))
        trunk = int.from_bytes(data[at : at + 4])
    return free
