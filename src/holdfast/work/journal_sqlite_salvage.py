"""Carries what can still be read of a damaged journal over into a new file.

An entry whose request is readable is never given up: if what became of it cannot be read it is
pending again, and its key sees to it that its effect happens once.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from holdfast.work.journal_sqlite_places import Places
from holdfast.work.journal_sqlite_reading import Reading
from holdfast.work.journal_sqlite_rows import request_binding, sealed_part
from holdfast.work.journal_sqlite_schema import create
from holdfast.work.sealing import SALT_BYTES


@dataclass(frozen=True, slots=True)
class Found:
    """What a damaged journal still had."""

    carried_over: int
    lost: int  # entries that are known of, whose request cannot be read


def carry_over(places: Places) -> Found:
    """Write what is readable at the journal's path to `.carried`. The old file is not changed."""
    places.begin_anew()
    with closing(create(places.new)) as target:
        reading = Reading(places)
        target.execute("BEGIN IMMEDIATE")
        found = _copied(reading, target)
        target.execute("COMMIT")
    places.remove_patched()
    places.declare_whole()
    return found


def _copied(reading: Reading, target: sqlite3.Connection) -> Found:
    carried = set()
    names = set()
    for number in sorted(reading.requests):
        request = reading.requests[number]
        if request[1] in names:  # a page that was left over
            continue
        names.add(request[1])
        carried.add(number)
        _insert(target, request, reading.standings.get(number))
        if number in reading.answers:
            target.execute("INSERT INTO answers VALUES (?, ?, ?)", reading.answers[number])
    target.execute(
        "UPDATE standings SET turn = not_before WHERE number IN"
        " (SELECT min(number) FROM standings WHERE finished_at IS NULL GROUP BY ordering)"
    )
    target.executemany("INSERT INTO facts VALUES (?, ?)", _facts(reading).items())
    return Found(len(carried), len(reading.known - carried))


def _insert(target: sqlite3.Connection, request: Any, standing: Any) -> None:
    """Nobody holds anything: whoever did is gone, or the file would not be ours alone."""
    number, order, weight = request[0], request[3], len(request[7]) + 256
    unknown = (number, "pending", 0, 0.0, "", None, weight)
    _, state, attempts, not_before, cause, finished_at, size = standing or unknown
    state = "pending" if state == "running" else state
    target.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", request)
    target.execute(
        "INSERT INTO standings (number, ordering, state, attempts, not_before, cause, finished_at, size)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (number, order, state, attempts, not_before, cause, finished_at, size),
    )


def _facts(reading: Reading) -> dict[str, bytes]:
    """The salt and what a key is checked against; the first sealed request serves as well."""
    if reading.facts.keys() >= {"salt", "check", "binding"}:
        return reading.facts
    for number in sorted(reading.requests):
        sealed = sealed_part(reading.requests[number][7])
        if sealed is not None:
            binding = request_binding(number, reading.requests[number][1])
            return {"salt": sealed[:SALT_BYTES], "check": sealed, "binding": binding}
    return {}
