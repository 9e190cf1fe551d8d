"""What a journal does, as steps inside a transaction that somebody else begins and commits.

The owner is the journal's thread. No step looks at more rows than it gives back or changes,
however many entries wait: each question below is answered by an index or a tally.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from holdfast.work.entry import Backlog, Entry, Holder, New, Outcome, State
from holdfast.work.journal import LET_GO, JournalFullError, no_room_told
from holdfast.work.journal_sqlite_holders import is_gone
from holdfast.work.journal_sqlite_rows import (
    COLUMNS,
    TABLES,
    DamagedRowError,
    Rows,
    holder_of,
    text_of,
    weight,
)

PRUNED_AT_ONCE: Final = 200
_SPARE_PAGES: Final = 1024  # free pages that are kept for what comes next
_RUNNING: Final = -1  # of `turn`: see the schema


class Steps:
    """The steps on one connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path, max_bytes: int, rows: Rows) -> None:
        self._ask = connection.execute
        self._path = path
        self._max_bytes = max_bytes
        self._rows = rows
        self.removed = False  # something was, and its pages may be free

    def accept(self, new: New) -> int:
        """Store *new* as pending; its number. Raises JournalFullError past the bound."""
        known = self._one("SELECT number FROM requests WHERE name = ?", new.name)
        if known is not None:
            return int(known)
        self._make_sure_of_room(new.size)
        turn = None if self._any("finished_at IS NULL AND ordering = ?", new.order) else 0
        stored = self._ask(
            "INSERT INTO standings (ordering, state, turn, size) VALUES (?, 'pending', ?, ?)",
            (new.order, turn, new.size),
        )
        number = stored.lastrowid
        assert number is not None
        content, checksum = self._rows.request(number, new)
        self._ask(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                new.name,
                new.key,
                new.order,
                new.method,
                new.client,
                new.journaled_at,
                content,
                checksum,
            ),
        )
        return number

    def _make_sure_of_room(self, size: int) -> None:
        """Let go of what is finished, as far as room is needed: the oldest done first, failed ones last."""
        taken = dict(self._ask("SELECT state, bytes FROM tallies").fetchall())
        missing = sum(taken.values()) + size - self._max_bytes
        if missing > 0 and missing > sum(taken[state.value] for state in LET_GO):
            raise JournalFullError(no_room_told(self._path, sum(taken.values()), self._max_bytes, size))
        for state in LET_GO:
            while missing > 0 and taken[state.value] > 0:
                number, freed = self._ask(
                    "SELECT number, size FROM standings INDEXED BY by_state"
                    " WHERE state = ? ORDER BY number LIMIT 1",
                    (state.value,),
                ).fetchone()
                self._remove(number)
                taken[state.value] -= freed
                missing -= freed

    def lease(self, most: int, holder: Holder, until: float, now: float) -> list[Entry]:
        """Give out what is free, oldest first."""
        self._take_back(holder, now)
        self._ask("UPDATE standings SET turn = 0 WHERE turn > 0 AND turn <= ?", (now,))
        leased: list[Entry] = []
        while len(leased) < most:
            free = self._ask(
                "SELECT number FROM standings WHERE turn = 0 ORDER BY number LIMIT ?", (most - len(leased),)
            ).fetchall()
            if not free:
                break
            leased += self._given((number for (number,) in free), text_of(holder), until, now)
        return leased

    def _given(self, numbers: Iterable[int], holder: str, until: float, now: float) -> list[Entry]:
        given = []
        for number in numbers:
            self._ask(
                "UPDATE standings SET state = 'running', holder = ?, leased_until = ?, turn = ?"
                " WHERE number = ?",
                (holder, until, _RUNNING, number),
            )
            try:
                entry = self.entry(number)
            except DamagedRowError as error:  # it can never run, and must not stop those behind it
                self._end(number, State.DEAD, f"damaged in the journal: {error}", now)
                continue
            if entry is not None:
                given.append(entry)
        return given

    def _take_back(self, asking: Holder, now: float) -> None:
        """Make pending what runs under a lease that ran out, or for a process that is gone."""
        freed = self._ask(
            "SELECT number, ordering, holder FROM standings INDEXED BY leases"
            " WHERE state = 'running' AND leased_until <= ?",
            (now,),
        ).fetchall()
        for holder in self._holders():
            if is_gone(holder_of(holder), asking):
                freed += self._ask(
                    "SELECT number, ordering, holder FROM standings INDEXED BY holders"
                    " WHERE state = 'running' AND holder = ? AND leased_until > ?",
                    (holder, now),
                ).fetchall()
        us = text_of(asking)
        for number, order, holder in freed:
            if holder != us:
                self._ask(
                    "INSERT INTO interruptions VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1",
                    (number,),
                )
            self._ask(
                "UPDATE standings SET state = 'pending', holder = NULL, leased_until = 0, turn = NULL"
                " WHERE number = ?",
                (number,),
            )
            self._give_turn(order)

    def _holders(self) -> Iterable[str]:
        """Each one that holds something: one step along the index a holder, not one an entry."""
        step = (
            "SELECT holder FROM standings INDEXED BY holders"
            " WHERE state = 'running' AND holder > ? ORDER BY holder LIMIT 1"
        )
        holder = self._one(step, "")
        while holder is not None:
            yield holder
            holder = self._one(step, holder)

    def _give_turn(self, order: str) -> None:
        """It is the turn of the oldest unfinished entry of *order*, unless another one of it runs."""
        self._ask("UPDATE standings SET turn = NULL WHERE ordering = ? AND turn >= 0", (order,))
        if self._any("ordering = ? AND turn IS NOT NULL", order):
            return
        self._ask(
            "UPDATE standings SET turn = not_before WHERE number = (SELECT number FROM standings"
            " WHERE ordering = ? AND finished_at IS NULL ORDER BY number LIMIT 1)",
            (order,),
        )

    def renew(self, numbers: Sequence[int], holder: Holder, until: float) -> list[int]:
        """Prolong what *holder* was given and nobody else since."""
        text = text_of(holder)
        return [
            number
            for number in numbers
            if self._ask(
                "UPDATE standings SET leased_until = ? WHERE number = ? AND state = 'running' AND holder = ?",
                (until, number, text),
            ).rowcount
        ]

    def finish(self, number: int, holder: Holder, outcome: Outcome, now: float) -> bool:
        """Write *outcome* down if the lease is still *holder*'s."""
        held = self._ask(
            "SELECT s.ordering, r.name, ifnull(i.times, 0) FROM standings s"
            " LEFT JOIN requests r ON r.number = s.number LEFT JOIN interruptions i ON i.number = s.number"
            " WHERE s.number = ? AND s.state = 'running' AND s.holder = ? AND s.leased_until > ?",
            (number, text_of(holder), now),
        ).fetchone()
        if held is None:
            return False
        order, name, interruptions = held
        if interruptions != outcome.interruptions:
            self._ask("DELETE FROM interruptions WHERE number = ?", (number,))
            if outcome.interruptions:
                self._ask("INSERT INTO interruptions VALUES (?, ?)", (number, outcome.interruptions))
        if outcome.state is State.PENDING:
            self._ask(
                "UPDATE standings SET state = 'pending', attempts = ?, cause = ?, not_before = ?,"
                " turn = NULL, holder = NULL, leased_until = 0 WHERE number = ?",
                (outcome.attempts, outcome.cause, now + outcome.delay_s, number),
            )
            self._give_turn(order)
            return True
        if outcome.answer is not None:
            content, checksum = self._rows.answer(number, name, outcome.answer)
            self._ask("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (number, content, checksum))
        self._end(number, outcome.state, outcome.cause, now, outcome.attempts, weight(outcome.answer))
        return True

    def _end(
        self, number: int, state: State, cause: str, now: float, attempts: int | None = None, more: int = 0
    ) -> None:
        order = self._one("SELECT ordering FROM standings WHERE number = ?", number)
        self._ask(
            "UPDATE standings SET state = ?, cause = ?, finished_at = ?, attempts = ifnull(?, attempts),"
            " size = size + ?, turn = NULL, holder = NULL, leased_until = 0 WHERE number = ?",
            (state.value, cause, now, attempts, more, number),
        )
        self._give_turn(order)

    def find(self, name: str) -> Entry | None:
        """The entry of that name."""
        number = self._one("SELECT number FROM requests WHERE name = ?", name)
        return None if number is None else self.entry(number)

    def entry(self, number: int) -> Entry | None:
        """The entry of that number."""
        if not _may_be(number):
            return None
        row = self._ask(f"SELECT {COLUMNS} FROM {TABLES} WHERE s.number = ?", (number,)).fetchone()  # noqa: S608
        return None if row is None else self._rows.entry(row)

    def listed(self, state: State | None, most: int, after: int) -> list[Entry]:
        """Entries in order of their numbers."""
        which, bound = ("", ()) if state is None else ("s.state = ? AND", (state.value,))
        rows = self._ask(
            f"SELECT {COLUMNS} FROM {TABLES} WHERE {which} s.number > ? ORDER BY s.number LIMIT ?",  # noqa: S608
            (*bound, after, most),
        )
        return [self._rows.listed(row) for row in rows]

    def backlog(self) -> Backlog:
        """From the tallies, and the first of the pending and of the running."""
        tallies = self._ask("SELECT state, entries, bytes FROM tallies").fetchall()
        by_state = {state: entries for state, entries, _ in tallies}
        firsts = [self._first(state) for state in ("pending", "running") if by_state[state]]
        return Backlog(
            entries=by_state["pending"] + by_state["running"],
            stored_bytes=sum(size for _, _, size in tallies),
            oldest_at=min((at for at in firsts if at is not None), default=None),
            by_state=by_state,
        )

    def _first(self, state: str) -> float | None:
        at = self._one(
            "SELECT journaled_at FROM requests WHERE number ="
            " (SELECT number FROM standings WHERE state = ? ORDER BY number LIMIT 1)",
            state,
        )
        return None if at is None else float(at)

    def retry(self, number: int) -> bool:
        """Pending again in its old place, as if just accepted; but how it failed is known."""
        if not _may_be(number):
            return False
        row = self._ask(
            "SELECT s.ordering, a.content IS NULL, s.size FROM standings s LEFT JOIN answers a"
            " ON a.number = s.number WHERE s.number = ? AND s.state IN ('failed', 'dead')",
            (number,),
        ).fetchone()
        if row is None:
            return False
        entry = self.entry(number)
        assert entry is not None
        for table in ("answers", "interruptions"):
            self._ask(f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608
        self._ask(
            "UPDATE standings SET state = 'pending', attempts = 0, not_before = 0,"
            " finished_at = NULL, size = ? WHERE number = ?",
            (entry.new.size, number),
        )
        self._give_turn(row[0])
        return True

    def drop(self, number: int) -> bool:
        """Remove it, unless it runs."""
        if not _may_be(number):
            return False
        row = self._ask(
            "SELECT ordering FROM standings WHERE number = ? AND state != 'running'", (number,)
        ).fetchone()
        if row is None:
            return False
        self._remove(number)
        self._give_turn(row[0])
        return True

    def prune(self, before: float) -> int:
        """Remove up to `PRUNED_AT_ONCE` of what was done or failed before that moment."""
        old = self._ask(
            "SELECT number FROM standings INDEXED BY finished"
            " WHERE state IN ('done', 'failed') AND finished_at < ? LIMIT ?",
            (before, PRUNED_AT_ONCE),
        ).fetchall()
        for (number,) in old:
            self._remove(number)
        return len(old)

    def _remove(self, number: int) -> None:
        self.removed = True
        for table in ("standings", "requests", "answers", "interruptions"):
            self._ask(f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608

    def spare(self) -> int:
        """Pages that may go back to the disk now; some are kept for what comes next."""
        if not self.removed:
            return 0
        free = int(self._one("PRAGMA freelist_count")) - _SPARE_PAGES
        self.removed = free > 0
        return min(max(free, 0), _SPARE_PAGES)

    def _any(self, condition: str, value: str) -> bool:
        return self._one(f"SELECT 1 FROM standings WHERE {condition} LIMIT 1", value) is not None  # noqa: S608

    def _one(self, question: str, *values: Any) -> Any:
        row = self._ask(question, values).fetchone()
        return None if row is None else row[0]


def _may_be(number: int) -> bool:
    """Whether SQLite could have given it: a longer one cannot even be asked for."""
    return 0 < number < 2**63
