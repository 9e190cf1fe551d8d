"""Opens the journal's file: refuses what is not ours to touch, makes what is not there, mends what is broken.

| found | done |
|---|---|
| nothing | an empty journal is made beside its name, synced, and renamed |
| another application's file, a newer version, no right to write | JournalUnusableError, nothing is touched |
| a damaged file | what can be read is carried over, the old one is kept beside it, and it is told |
| a carrying over that was cut short | it is finished |
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.clock import Clock
from holdfast.events import Bus
from holdfast.work.events import JournalDamaged
from holdfast.work.journal import JournalError, JournalInaccessibleError, JournalUnusableError
from holdfast.work.journal_sqlite_faults import is_damage
from holdfast.work.journal_sqlite_lock import FileLock
from holdfast.work.journal_sqlite_places import Places, sync_folder
from holdfast.work.journal_sqlite_rows import Rows
from holdfast.work.journal_sqlite_salvage import carry_over
from holdfast.work.journal_sqlite_schema import (
    APPLICATION_ID,
    MAGIC,
    VERSION,
    complete,
    connect,
    create,
    header,
    tune,
)
from holdfast.work.sealing import Seal, refuse_unsealed

SHARED_S: Final = 60.0  # a repair reads the whole file
ALONE_S: Final = 5.0
_ROUNDS: Final = 3
_CHECK: Final = b"holdfast journal"
_OPEN: Final[Counter[tuple[int, int]]] = Counter()
"""Files that are open in this process. To open one once more beside SQLite and close it again would
drop SQLite's locks on it (POSIX forgets them all at the first close)."""


class _DamagedError(Exception):
    """The file is not what was written."""


@dataclass(slots=True)
class Opened:
    """An open journal's connection, and what it holds on to."""

    connection: sqlite3.Connection
    rows: Rows
    path: Path
    lock: FileLock
    identity: tuple[int, int]

    def make_sure_it_is_there(self) -> None:
        """Raise JournalError when the file was removed: what is written to it would go with it."""
        try:
            found = _identity(self.path)
        except FileNotFoundError:
            found = None
        if found != self.identity:
            raise JournalError(
                f"the journal {self.path} was removed or replaced while it was open; start again"
            )

    def close(self) -> None:
        """Close the file; the last one to do so folds SQLite's log into it."""
        try:
            self.connection.close()
        finally:
            _OPEN.subtract([self.identity])
            self.lock.release()


def make_folder(folder: Path) -> None:
    """Make *folder*, for us alone, unless it is there. Raises JournalUnusableError."""
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise unusable(folder, error) from error


def opened(path: Path, seal: Seal | None, bus: Bus, clock: Clock) -> Opened:
    """The journal at *path*, made or mended where needed. Raises JournalUnusableError."""
    places = Places(path, clock.wall())
    try:
        _refuse_what_is_not_ours(places)
        _refuse_what_cannot_be_written(path)
        lock = FileLock(places.lock)
        try:
            return _opened(places, seal, lock, bus)
        except BaseException:
            lock.release()
            raise
    except (sqlite3.Error, OSError) as error:
        raise unusable(path, error) from error


def _opened(places: Places, seal: Seal | None, lock: FileLock, bus: Bus) -> Opened:
    for _ in range(_ROUNDS):  # whoever was quicker may have made or mended it
        lock.shared(SHARED_S)
        if places.path.exists() and not places.carried.exists():
            try:
                return _sound(places.path, seal, lock)
            except _DamagedError:
                pass
        lock.alone(ALONE_S)
        _make_or_mend(places, bus)
    raise JournalUnusableError(
        f"the journal {places.path} is damaged again as soon as it is mended; look at the disk it is on"
    )


def _make_or_mend(places: Places, bus: Bus) -> None:
    """We are alone with the file."""
    if places.carried.exists():
        places.put_carried_in_place()
        return
    if not places.path.exists():
        _make(places, bus)
        return
    try:
        _checked(places.path).close()
    except _DamagedError as error:
        found = carry_over(places)
        kept = places.put_carried_in_place()
        cause = f"{error}; {found.lost} entries could not be read" if found.lost else str(error)
        told = JournalDamaged(
            place=str(places.path), kept_at=str(kept), carried_over=found.carried_over, cause=cause
        )
        bus.publish(told)


def _make(places: Places, bus: Bus) -> None:
    places.begin_anew()
    create(places.new).close()
    if places.log.exists():  # of a journal that somebody removed: it must not be taken for ours
        kept = places.put_aside()
        told = JournalDamaged(
            place=str(places.path),
            kept_at=str(kept),
            carried_over=0,
            cause="its file was removed, its log was not",
        )
        bus.publish(told)
    places.new.replace(places.path)
    sync_folder(places.path)


def _sound(path: Path, seal: Seal | None, lock: FileLock) -> Opened:
    connection = _checked(path)
    try:
        complete(connection)
        for one in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock"))):
            if one.exists():
                one.chmod(0o600)
        rows = Rows(_sealing(connection, path, seal))
    except BaseException:
        connection.close()
        raise
    identity = _identity(path)
    _OPEN.update([identity])
    return Opened(connection, rows, path, lock, identity)


def _checked(path: Path) -> sqlite3.Connection:
    """A connection to a file whose pages are whole. Raises _DamagedError."""
    if not _OPEN[_identity(path)] and header(path)[0] != MAGIC:
        raise _DamagedError("its first page is not what was written")
    connection = connect(path)
    try:
        _refuse_version(path, *_told(connection))
        if not tune(connection):
            raise JournalUnusableError(
                f"{path.parent} cannot hold a journal (no shared memory); use a local disk"
            )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        connection.execute("SELECT count(*) FROM tallies").fetchone()
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error):
            raise _DamagedError(str(error)) from error
        raise
    except BaseException:
        connection.close()
        raise
    if verdict != "ok":
        connection.close()
        raise _DamagedError(str(verdict).splitlines()[-1])
    return connection


def _told(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application, version


def _refuse_what_is_not_ours(places: Places) -> None:
    path = places.path
    if not path.exists() or path.stat().st_size == 0 or _OPEN[_identity(path)]:
        return
    magic, application, version = header(path)
    if magic == MAGIC:
        _refuse_version(path, application, version)
    elif not places.lock.exists():  # with it beside, it is one of ours whose beginning was destroyed
        raise JournalUnusableError(f"{path} is not a journal; move it away, or set HOLDFAST_STATE_DIR")


def _refuse_version(path: Path, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise JournalUnusableError(
            f"{path} is another application's database, not a journal; move it away, "
            "or set HOLDFAST_STATE_DIR"
        )
    if version != VERSION:
        raise JournalUnusableError(
            f"the journal {path} is of version {version}, and this release knows version {VERSION}; "
            "start the release that wrote it and let it run empty, or move the file away"
        )


def _refuse_what_cannot_be_written(path: Path) -> None:
    """Ask the system, and not SQLite: it would open the file for reading only, and say nothing."""
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, "no right to write to it")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no right to write to its folder")


def _sealing(connection: sqlite3.Connection, path: Path, seal: Seal | None) -> Seal | None:
    """The seal with this journal's salt, checked against what it was sealed with before."""
    facts = _facts(connection)
    if seal is None:
        if facts:
            raise JournalUnusableError(f"the journal {path} is sealed; set HOLDFAST_JOURNAL_KEY")
        return None
    if not facts:
        if not seal.begins:
            refuse_unsealed(str(path))
        made = {"salt": seal.salt, "check": seal.seal(_CHECK, _CHECK), "binding": _CHECK}
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?)", made.items())
        connection.execute("COMMIT")
        facts = _facts(connection)  # another process may have been quicker
    seal = seal.salted(facts["salt"])
    try:
        seal.open(facts["check"], facts["binding"])
    except ValueError as error:
        raise JournalUnusableError(
            f"the journal {path} is sealed with another key; set HOLDFAST_JOURNAL_KEY to that one"
        ) from error
    return seal


def _facts(connection: sqlite3.Connection) -> dict[str, bytes]:
    return dict(connection.execute("SELECT name, value FROM facts").fetchall())


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def unusable(path: Path, error: BaseException) -> JournalUnusableError:
    """What is said when the system, or SQLite, does not let us open *path*."""
    kind = JournalInaccessibleError if isinstance(error, PermissionError) else JournalUnusableError
    user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "the current one"
    return kind(
        f"the journal {path} cannot be opened: {error}; make it and its folder readable and writable "
        f"for this user ({user}), or name another folder in HOLDFAST_STATE_DIR"
    )
