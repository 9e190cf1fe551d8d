"""What the tests of the SQLite journal ask of it, in few words."""

from __future__ import annotations

import os

import psutil

from holdfast.work.entry import Answer, Holder, New, Outcome, State
from holdfast.work.journal_sqlite import SqliteJournal

HERE = Holder("one", "here", os.getpid(), psutil.Process().create_time())
THERE = Holder("two", "elsewhere", 1, 5.0)
NOW = 1_000_000.0
DONE = Outcome(State.DONE, Answer(201, ((b"x", b"y"),), b"made"))


def new(name: str, order: str = "o", body: bytes = b"{}", at: float = NOW) -> New:
    headers = ((b"content-type", b"application/json"), (b"x-b\xff", b"\x00"))
    return New(name, f"k-{name}", order, "POST", "/orders?\xe9=1", headers, body, "10.0.0.1", at)


def accepted(journal: SqliteJournal, *names: str, order: str = "o") -> list[int]:
    return [journal.accept(new(name, order)).result() for name in names]


def leased(journal: SqliteJournal, most: int = 10, holder: Holder = HERE, now: float = NOW) -> list[int]:
    return [entry.number for entry in journal.lease(most, holder, now + 15, now).result()]
