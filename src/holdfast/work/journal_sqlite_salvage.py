"""Carries what can still be read of a damaged journal over into a new file.

Pages are bad in places, not as a whole: rows are read forward until one cannot be, then from beyond
it, then backward to it. An entry whose request is readable is never given up: if what became of it
cannot be read it is pending again, and its key sees to it that its effect happens once.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holdfast.work.entry import State
from holdfast.work.journal_sqlite_places import Places
from holdfast.work.journal_sqlite_rows import intact_request, request_binding, sealed_part
from holdfast.work.journal_sqlite_schema import MAGIC, PAGE, connect, create, header
from holdfast.work.sealing import SALT_BYTES

_LAST: Final = 2**62
_FINISHED: Final = frozenset({State.DONE.value, State.FAILED.value, State.DEAD.value})
_STANDING: Final = "number, state, attempts, not_before, cause, finished_at, size"
_REQUEST: Final = "number, name, key, ordering, method, client, journaled_at, content, checksum"
_ANSWER: Final = "number, content, checksum"


@dataclass(frozen=True, slots=True)
class Found:
    """What a damaged journal still had."""

    carried_over: int
    lost: int  # entries that are known of, whose request cannot be read


def carry_over(places: Places) -> Found:
    """Write what is readable at the journal's path to `.carried`. The old file is not changed."""
    places.begin_anew()
    with closing(create(places.new)) as target:
        target.execute("BEGIN IMMEDIATE")
        with closing(_source(places)) as source:
            found = _copied(source, target)
        target.execute("COMMIT")
    for left in (
        places.patched,
        *(places.patched.with_name(places.patched.name + e) for e in ("-wal", "-shm")),
    ):
        left.unlink(missing_ok=True)
    places.declare_whole()
    return found


def _copied(source: sqlite3.Connection, target: sqlite3.Connection) -> Found:
    standings = {row[0]: row for row in readable(source, "standings", _STANDING) if _is_standing(row)}
    names: dict[int, str] = {}
    damaged = set()
    first_sealed: tuple[bytes, bytes] | None = None
    for row in readable(source, "requests", _REQUEST):
        number, name, content = row[0], row[1], row[7]
        if not _is_request(row):
            damaged.add(number)
            continue
        with suppress(sqlite3.IntegrityError):  # a row that garbage made twice
            _insert(target, row, standings.get(number))
            names[number] = name
            sealed = sealed_part(content)
            if sealed is not None and first_sealed is None:
                first_sealed = sealed, request_binding(number, name)
    for number, content, checksum in readable(source, "answers", _ANSWER):
        if number in names and isinstance(content, bytes) and isinstance(checksum, int):
            target.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (number, content, checksum))
    _give_turns(target)
    _copy_facts(source, target, first_sealed)
    return Found(len(names), len((standings.keys() | damaged) - names.keys()))


def readable(source: sqlite3.Connection, table: str, columns: str) -> Iterator[Any]:
    """Each row of *table* that can be read, once, in no particular order."""
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


def _is_standing(row: Any) -> bool:
    number, state, attempts, not_before, cause, finished_at, size = row
    return (
        isinstance(number, int)
        and state in {one.value for one in State}
        and isinstance(attempts, int)
        and isinstance(not_before, float)
        and isinstance(cause, str)
        and isinstance(size, int)
        and isinstance(finished_at, float) == (state in _FINISHED)
    )


def _is_request(row: Any) -> bool:
    number, *texts, client, journaled_at, content, checksum = row
    return (
        all(isinstance(one, str) for one in texts)
        and isinstance(client, str | None)
        and isinstance(journaled_at, float)
        and isinstance(content, bytes)
        and isinstance(checksum, int)
        and intact_request(number, texts[0], content, checksum)
    )


def _insert(target: sqlite3.Connection, request: Any, standing: Any) -> None:
    """Nobody holds anything: whoever did is gone, or the file would not be ours alone."""
    number, order = request[0], request[3]
    size = len(request[7]) + 256
    _, state, attempts, not_before, cause, finished_at, size = standing or (
        0,
        "pending",
        0,
        0,
        "",
        None,
        size,
    )
    target.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", request)
    target.execute(
        "INSERT INTO standings (number, ordering, state, attempts, not_before, cause, finished_at, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            order,
            "pending" if state == "running" else state,
            attempts,
            not_before,
            cause,
            finished_at,
            size,
        ),
    )


def _give_turns(target: sqlite3.Connection) -> None:
    target.execute(
        "UPDATE standings SET turn = not_before WHERE number IN"
        " (SELECT min(number) FROM standings WHERE finished_at IS NULL GROUP BY ordering)"
    )


def _copy_facts(
    source: sqlite3.Connection, target: sqlite3.Connection, first_sealed: tuple[bytes, bytes] | None
) -> None:
    """The salt and what a key is checked against; the first sealed request serves as well."""
    facts: dict[str, bytes] = {}
    with suppress(sqlite3.Error):
        facts = dict(source.execute("SELECT name, value FROM facts").fetchall())
    if not facts.keys() >= {"salt", "check", "binding"} and first_sealed is not None:
        sealed, binding = first_sealed
        facts = {"salt": sealed[:SALT_BYTES], "check": sealed, "binding": binding}
    target.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())


def _source(places: Places) -> sqlite3.Connection:
    """A connection to the damaged file, or to a copy of it with a new first page when that is bad."""
    if header(places.path)[0] == MAGIC:
        source = _lenient(places.path)
        try:
            source.execute("SELECT 1 FROM standings LIMIT 0")
            source.execute("SELECT 1 FROM requests LIMIT 0")
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
    shutil.copyfile(places.path, places.patched)
    if places.log.exists():
        shutil.copyfile(places.log, places.patched.with_name(places.patched.name + "-wal"))
    with places.new.open("rb") as template:
        page = bytearray(template.read(PAGE))
    pages = max(1, places.patched.stat().st_size // PAGE)
    page[28:32] = pages.to_bytes(4)  # how many pages the file has
    page[18:20] = b"\x02\x02"  # read and written with a log
    places.patched.chmod(0o600)
    with places.patched.open("r+b") as copy:
        copy.write(page)
