"""Properties 16 and 17: whatever two processes do with a key, its effect happens at most once.

The statements of `databases/markers.py`, as they are, on a real SQLite file; each process has a
connection of its own, and dies by losing it.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.databases.markers import KEEP_S, Kept, Row, Statements, Written, asked, found, written
from holdfast.policy.keys import Ruling
from holdfast.policy.keys import rule as ruling

STATEMENTS = Statements("sqlite", "qmark", None)
PROCESSES, KEYS, PRINTS = st.integers(0, 1), st.sampled_from(["k", "l"]), st.sampled_from(["tea", "coffee"])
ANSWERS = st.builds(
    Kept,
    st.sampled_from([200, 201, 404]),
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
    st.none() | st.binary(max_size=20),
    st.integers(0, 20),
)


class TwoProcesses(RuleBasedStateMachine):
    """Two connections to one file, and what has been promised so far."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-keys-"))
        self.connections: list[sqlite3.Connection] = []
        self.working: dict[int, tuple[str, str]] = {}  # process: key and fingerprint of its open transaction
        self.effects: dict[str, str] = {}  # key: whose work is committed
        self.answers: dict[str, tuple[str, Kept]] = {}  # key: what was read as its answer

    @initialize()
    def begin(self) -> None:
        self.connections = [self._opened(), self._opened()]
        one = self.connections[0]
        one.execute("CREATE TABLE effects (key text, print text)")
        for statement in STATEMENTS.create:
            one.execute(statement)

    def _opened(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "shop.db", timeout=0, isolation_level=None)

    def teardown(self) -> None:
        for one in self.connections:
            one.close()
        shutil.rmtree(self.folder)

    def _row(self, process: int, key: str) -> Row | None:
        return found(self.connections[process].execute(STATEMENTS.look, asked([key]))).get(key)

    def _rule(self, process: int, key: str, fingerprint: str) -> tuple[Ruling, Row | None]:
        row = self._row(process, key)
        kept = None if row is None else (row.fingerprint, row.age_s, row.answer is not None)
        return ruling(kept, fingerprint), row

    # ---- what a process does ----------------------------------------------------------------------

    @precondition(lambda self: not self.working)
    @rule(process=PROCESSES, key=KEYS, fingerprint=PRINTS)
    def claim(self, process: int, key: str, fingerprint: str) -> None:
        """A request comes; its transaction is open, with an effect and no marker yet."""
        found_, row = self._rule(process, key, fingerprint)
        match found_:
            case Ruling.REPLAY:
                assert row is not None
                assert row.fingerprint == fingerprint
                assert row.answer is not None
                known = self.answers.setdefault(key, (fingerprint, row.answer))
                assert known == (fingerprint, row.answer)
            case Ruling.MISMATCH:
                assert row is not None
                assert row.fingerprint != fingerprint
            case Ruling.RUN:
                assert key not in self.effects
                self._work(process, key, fingerprint)
            case Ruling.WAIT | Ruling.LOST:
                assert self.effects[key] == fingerprint

    @precondition(lambda self: not self.working)
    @rule(process=PROCESSES, key=KEYS, fingerprint=PRINTS)
    def run_on_an_old_look(self, process: int, key: str, fingerprint: str) -> None:
        """It looked before another one committed: only the marker stands in its way."""
        self._work(process, key, fingerprint)

    def _work(self, process: int, key: str, fingerprint: str) -> None:
        one = self.connections[process]
        one.execute("BEGIN IMMEDIATE")
        one.execute("INSERT INTO effects VALUES (?, ?)", (key, fingerprint))
        self.working[process] = (key, fingerprint)

    @precondition(lambda self: self.working)
    @rule(also=st.booleans())
    def commit(self, also: bool) -> None:
        """The marker goes in, and COMMIT; or another attempt has had its effect, and ROLLBACK."""
        ((process, (key, fingerprint)),) = self.working.items()
        one = self.connections[process]
        fresh = one.execute(STATEMENTS.mark, (key, 0, fingerprint)).rowcount != 0
        assert not (fresh and key in self.effects)
        one.execute("COMMIT" if fresh else "ROLLBACK")
        del self.working[process]
        if fresh:
            self.effects[key] = fingerprint
            if also:  # a second transaction of the same attempt
                one.execute("BEGIN")
                assert one.execute(STATEMENTS.mark, (key, 1, fingerprint)).rowcount == 1
                one.execute("COMMIT")

    @precondition(lambda self: self.working)
    @rule()
    def roll_back(self) -> None:
        ((process, _),) = self.working.items()
        self.connections[process].execute("ROLLBACK")
        del self.working[process]

    @rule(process=PROCESSES, marked=st.booleans())
    def crash(self, process: int, marked: bool) -> None:
        """The process ends wherever it is; another one takes its place."""
        if process in self.working:
            key, fingerprint = self.working.pop(process)
            if marked:
                self.connections[process].execute(STATEMENTS.mark, (key, 0, fingerprint))
        self.connections[process].close()
        self.connections[process] = self._opened()

    @precondition(lambda self: not self.working)
    @rule(process=PROCESSES, key=KEYS, fingerprint=PRINTS, answer=ANSWERS)
    def keep(self, process: int, key: str, fingerprint: str, answer: Kept) -> None:
        """An answer has left: the first one's, or that of somebody who was refused."""
        before = self._row(process, key)
        many = [Written(key, fingerprint, answer), Written("another", "x", answer)]
        self.connections[process].execute(STATEMENTS.keep, written(many))
        after = self._row(process, key)
        assert after is not None
        if before is None or (before.answer is None and before.fingerprint == fingerprint):
            assert (after.fingerprint, after.answer) == (fingerprint, answer)
            self.answers[key] = (fingerprint, answer)
            self.effects.setdefault(key, fingerprint)  # answered without an effect: there will be none
        else:
            assert (after.fingerprint, after.answer) == (before.fingerprint, before.answer)

    @precondition(lambda self: not self.working)
    @rule(process=PROCESSES, key=KEYS, old=st.booleans())
    def prune(self, process: int, key: str, old: bool) -> None:
        """A day passes for one key, or not quite; the effect of a forgotten key may happen anew."""
        seconds = KEEP_S + 60 if old else KEEP_S - 60
        one = self.connections[process]
        one.execute(
            "UPDATE holdfast_idempotency SET created_at = (julianday('now') - 2440587.5) * 86400 - ?"
            " WHERE key = ?",
            (seconds, key),
        )
        one.execute(STATEMENTS.prune)
        assert (self._row(process, key) is not None) == (key in self.effects and not old)
        if old:
            self.effects.pop(key, None)
            self.answers.pop(key, None)
            one.execute("DELETE FROM effects WHERE key = ?", (key,))

    # ---- what always holds ------------------------------------------------------------------------

    @invariant()
    def at_most_one_effect_a_key(self) -> None:
        if not self.connections or self.working:
            return
        rows = self.connections[0].execute("SELECT key, print FROM effects").fetchall()
        keys = [key for key, _ in rows]
        assert len(keys) == len(set(keys))
        assert all(self.effects[key] == fingerprint for key, fingerprint in rows)

    @invariant()
    def both_processes_are_told_the_same(self) -> None:
        if not self.connections or self.working:
            return
        for key, (fingerprint, answer) in self.answers.items():
            for process in (0, 1):
                row = self._row(process, key)
                assert row is not None
                assert (row.fingerprint, row.answer) == (fingerprint, answer)


TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = settings(max_examples=500, stateful_step_count=25, deadline=None)
