"""The tables of the SQLite journal, their version, and how a connection to them is set up.

`requests` is what was accepted and never changes; `standings` is where each entry stands; `tallies`
are kept by triggers, in the same transaction as what they count; `interruptions` has only those whose
holder ended while it held them. The column `turn` says whose turn
it is in an order: NULL not yet, -1 it is running, 0 now, any other number from that moment on. That
an order has one turn at most is a unique index, so no mistake of ours can run two at once.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

APPLICATION_ID: Final = 0x484F4C44  # "HOLD"
VERSION: Final = 1
PAGE: Final = 4096
_BUSY_MS: Final = 5000
MAGIC: Final = b"SQLite format 3\x00"

_TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    ordering TEXT NOT NULL,
    method TEXT NOT NULL,
    client TEXT,
    journaled_at REAL NOT NULL,
    content BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE standings (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    ordering TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    leased_until REAL NOT NULL DEFAULT 0,
    holder TEXT,
    cause TEXT NOT NULL DEFAULT '',
    finished_at REAL,
    turn REAL,
    size INTEGER NOT NULL
);
CREATE TABLE answers (number INTEGER PRIMARY KEY, content BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE tallies (state TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO tallies VALUES
    ('pending', 0, 0), ('running', 0, 0), ('done', 0, 0), ('failed', 0, 0), ('dead', 0, 0);
CREATE INDEX unfinished ON standings (ordering) WHERE finished_at IS NULL;
CREATE INDEX by_state ON standings (state);
CREATE UNIQUE INDEX one_turn ON standings (ordering) WHERE turn IS NOT NULL;
CREATE INDEX turns ON standings (turn) WHERE turn IS NOT NULL;
CREATE INDEX leases ON standings (leased_until) WHERE state = 'running';
CREATE INDEX holders ON standings (holder) WHERE state = 'running';
CREATE INDEX finished ON standings (finished_at) WHERE state IN ('done', 'failed');
CREATE TRIGGER counted AFTER INSERT ON standings BEGIN
    UPDATE tallies SET entries = entries + 1, bytes = bytes + new.size WHERE state = new.state;
END;
CREATE TRIGGER uncounted AFTER DELETE ON standings BEGIN
    UPDATE tallies SET entries = entries - 1, bytes = bytes - old.size WHERE state = old.state;
END;
CREATE TRIGGER recounted AFTER UPDATE OF state, size ON standings
WHEN old.state != new.state OR old.size != new.size BEGIN
    UPDATE tallies SET entries = entries - 1, bytes = bytes - old.size WHERE state = old.state;
    UPDATE tallies SET entries = entries + 1, bytes = bytes + new.size WHERE state = new.state;
END;
"""  # a trigger's own changes are in its statement's savepoint: a tally cannot differ from what it counts
_LATER: Final = """
CREATE TABLE IF NOT EXISTS interruptions (number INTEGER PRIMARY KEY, times INTEGER NOT NULL);
"""  # the last one, so that every other stands at the same page in a journal that was made without it


def connect(path: Path, *, read_only: bool = False, busy_s: float = 5.0) -> sqlite3.Connection:
    """A connection without implicit transactions; SQLite's own waiting is *busy_s* seconds."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    return sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)


def create(path: Path) -> sqlite3.Connection:
    """An empty journal in the existing, empty file *path*: not in WAL yet, so that it is one file."""
    connection = connect(path)
    connection.execute(f"PRAGMA page_size = {PAGE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_LATER} COMMIT;")
    return connection


def complete(connection: sqlite3.Connection) -> None:
    """Add what a journal that was made by an earlier release lacks."""
    known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'interruptions'").fetchone()
    if known is None:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")  # others may write, or add it too
        connection.execute(_LATER)
        connection.execute("PRAGMA busy_timeout = 0")


def tune(connection: sqlite3.Connection) -> bool:
    """Durable at each commit, with a log that does not grow for ever; False where it cannot have one."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    for setting in (
        "synchronous = FULL",  # a commit is synced before it returns: it gates a 202
        "fullfsync = ON",  # macOS: past the drive's cache too
        "checkpoint_fullfsync = ON",
        "wal_autocheckpoint = 2000",  # pages: 8 MiB
        f"journal_size_limit = {16 * 2**20}",
        "cache_size = -8000",  # KiB
        "temp_store = MEMORY",
        "busy_timeout = 0",  # from here on we wait ourselves, in shorter steps than SQLite does
    ):
        connection.execute(f"PRAGMA {setting}").fetchall()
    return bool(mode == "wal")


def header(path: Path) -> tuple[bytes, int, int]:
    """Magic, application id and version, read without SQLite: it would touch the files beside it."""
    with path.open("rb") as file:
        head = file.read(100).ljust(100, b"\x00")
    return head[:16], int.from_bytes(head[68:72]), int.from_bytes(head[60:64])
