"""Reads what can be read of a damaged journal: through its tables, and off its pages where those break.

Pages are bad in places, not as a whole: rows are read forward until one cannot be, then from beyond
it, then backward to it. What no table leads to is looked for on the pages themselves.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from holdfast.work.entry import State
from holdfast.work.journal_sqlite_pages import rows_on_pages
from holdfast.work.journal_sqlite_places import Places
from holdfast.work.journal_sqlite_rows import intact_request
from holdfast.work.journal_sqlite_schema import MAGIC, PAGE, connect, header

_LAST: Final = 2**62
_FINISHED: Final = frozenset({State.DONE.value, State.FAILED.value, State.DEAD.value})
_STATES: Final = frozenset(state.value for state in State)
_STANDING: Final = "number, state, attempts, not_before, cause, finished_at, size"
_REQUEST: Final = "number, name, key, ordering, method, client, journaled_at, content, checksum"
_ANSWER: Final = "number, content, checksum"


class Reading:
    """The rows of a damaged journal, by number. `known` are numbers that were seen anywhere."""

    def __init__(self, places: Places) -> None:
        self.standings: dict[int, Any] = {}
        self.requests: dict[int, Any] = {}
        self.answers: dict[int, Any] = {}
        self.facts: dict[str, bytes] = {}
        self.known: set[int] = set()
        self._broken: set[str] = set()
        with closing(_source(places)) as source:
            self._read(source)
        if self._broken:
            _patch(places)
            _fold_log(places.patched)
            self._look_on_pages(places.patched)

    def _read(self, source: sqlite3.Connection) -> None:
        for row in self._rows(source, "standings", _STANDING):
            self._keep(self.standings, row, _is_standing(row))
        for row in self._rows(source, "requests", _REQUEST):
            self._keep(self.requests, row, _is_request(row))
        for row in self._rows(source, "answers", _ANSWER):
            self._keep(self.answers, row, _is_answer(row))
        with suppress(sqlite3.Error):
            self.facts = dict(source.execute("SELECT name, value FROM facts").fetchall())

    def _keep(self, found: dict[int, Any], row: Any, whole: bool) -> None:
        self.known.add(row[0])
        if whole:
            found[row[0]] = row

    def _look_on_pages(self, path: Path) -> None:
        """Fill in what the tables did not lead to; never what they say was removed."""
        removed_are_known = "standings" not in self._broken
        standings: dict[int, Any] = {}
        for number, *columns in rows_on_pages(path):
            if removed_are_known and number not in self.standings:
                continue
            if len(columns) == 9:
                row = (number, *columns[1:6], _real(columns[6]), *columns[7:])
                if number not in self.requests and _is_request(row):
                    self._keep(self.requests, row, True)
            elif len(columns) == 11:
                state, attempts, not_before, cause, finished_at, size = (
                    columns[i] for i in (2, 3, 4, 7, 8, 10)
                )
                row = (number, state, attempts, _real(not_before), cause, _real(finished_at), size)
                if number not in self.standings and _is_standing(row):
                    standings[number] = _earlier(standings.get(number, row), row)
            elif len(columns) == 3 and number not in self.answers:
                row = (number, *columns[1:])
                self._keep(self.answers, row, _is_answer(row))
        self.standings = standings | self.standings

    def _rows(self, source: sqlite3.Connection, table: str, columns: str) -> Iterator[Any]:
        """Each row of *table* that the table leads to, once, in no particular order."""
        last = 0
        while True:
            try:
                for row in source.execute(
                    f"SELECT {columns} FROM {table} WHERE number > ? ORDER BY number",  # noqa: S608
                    (last,),
                ):
                    if not isinstance(row[0], int) or row[0] <= last:
                        raise sqlite3.DatabaseError("rows out of order")
                    yield row
                    last = row[0]
            except sqlite3.Error:
                self._broken.add(table)
                beyond = _beyond(source, table, last)
                yield from _backward(source, table, columns, beyond, last)
                if beyond == _LAST:
                    return
                last = beyond - 1
            else:
                return


def _beyond(source: sqlite3.Connection, table: str, last: int) -> int:
    """The number of a row past the one that cannot be read."""
    step = 1
    while last + step < _LAST:
        step *= 2
        with suppress(sqlite3.Error):
            row = source.execute(
                f"SELECT number FROM {table} WHERE number >= ? ORDER BY number LIMIT 1",  # noqa: S608
                (last + step,),
            ).fetchone()
            return _LAST if row is None or row[0] < last + step else int(row[0])
    return _LAST


def _backward(source: sqlite3.Connection, table: str, columns: str, before: int, after: int) -> Iterator[Any]:
    with suppress(sqlite3.Error):
        for row in source.execute(
            f"SELECT {columns} FROM {table} WHERE number < ? AND number > ? ORDER BY number DESC",  # noqa: S608
            (before, after),
        ):
            if not isinstance(row[0], int) or not after < row[0] < before:
                return
            yield row
            before = row[0]


def _earlier(one: Any, other: Any) -> Any:
    """Of two that tell of the same entry, one being left over from before, the one that is not finished."""
    return one if one[1] not in _FINISHED else other


def _real(value: Any) -> Any:
    """Whole numbers are stored as integers, also in a column of reals."""
    return float(value) if isinstance(value, int) else value


def _is_standing(row: Any) -> bool:
    number, state, attempts, not_before, cause, finished_at, size = row
    return (
        isinstance(number, int)
        and state in _STATES
        and isinstance(attempts, int)
        and isinstance(not_before, float)
        and isinstance(cause, str)
        and isinstance(size, int)
        and isinstance(finished_at, float) == (state in _FINISHED)
    )


def _is_request(row: Any) -> bool:
    number, name, key, order, method, client, journaled_at, content, checksum = row
    return (
        all(isinstance(one, str) for one in (name, key, order, method))
        and isinstance(client, str | None)
        and isinstance(journaled_at, float)
        and isinstance(content, bytes)
        and isinstance(checksum, int)
        and intact_request(number, name, key, order, method, content, checksum)
    )


def _is_answer(row: Any) -> bool:
    return isinstance(row[1], bytes) and isinstance(row[2], int)


def _source(places: Places) -> sqlite3.Connection:
    """A connection to the damaged file, or to a copy of it with a new first page when that is bad."""
    if header(places.path)[0] == MAGIC:
        source = _lenient(places.path)
        try:
            for table in ("standings", "requests", "answers"):
                source.execute(f"SELECT 1 FROM {table} LIMIT 0")  # noqa: S608
        except sqlite3.Error:
            source.close()
        else:
            return source
    _patch(places)
    return _lenient(places.patched)


def _lenient(path: Path) -> sqlite3.Connection:
    source = connect(path, read_only=True)
    source.execute("PRAGMA writable_schema = ON")  # else a file that was cut short is refused as a whole
    return source


def _patch(places: Places) -> None:
    """A copy whose first page, with the schema, is a new journal's: the tables stand at the same pages."""
    places.remove_patched()
    shutil.copyfile(places.path, places.patched)
    places.patched.chmod(0o600)
    if places.log.exists():
        shutil.copyfile(places.log, places.patched.with_name(places.patched.name + "-wal"))
    with places.new.open("rb") as template:
        page = bytearray(template.read(PAGE))
    pages = max(1, places.patched.stat().st_size // PAGE)
    page[18:20] = b"\x02\x02"  # read and written with a log
    page[28:32] = pages.to_bytes(4)
    with places.patched.open("r+b") as copy:
        if header(places.path)[0] == MAGIC:  # which pages are free
            copy.seek(32)
            page[32:40] = copy.read(8)
            copy.seek(0)
        copy.write(page)


def _fold_log(path: Path) -> None:
    """Have SQLite write what is in the log into the file, where it can."""
    with suppress(sqlite3.Error), closing(connect(path)) as copy:
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
