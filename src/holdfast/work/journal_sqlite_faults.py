"""What SQLite's errors mean for the journal: no room, damage, somebody else's turn, or trouble."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Final

from holdfast.work.journal import JournalError, JournalFullError

_NO_ROOM: Final = frozenset({
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # a quota or a limit of the file's size, besides broken disks
    sqlite3.SQLITE_IOERR_SHMSIZE,
})  # fmt: skip
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_ROOM_ERRNO: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_busy(error: BaseException) -> bool:
    """Whether another connection has its turn."""
    return _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: BaseException) -> bool:
    """Whether the file is not what was written."""
    return _primary(error) in _DAMAGE or _code(error) == sqlite3.SQLITE_IOERR_SHORT_READ


def is_no_room(error: BaseException) -> bool:
    """Whether the disk, a quota or a limit has no room."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM_ERRNO
    return _code(error) in _NO_ROOM


def translated(error: BaseException, path: Path) -> BaseException:
    """*error* in the journal's words; what is neither SQLite's nor the system's is left as it is."""
    if isinstance(error, JournalError) or not isinstance(error, (sqlite3.Error, OSError)):
        return error
    if is_no_room(error):
        told: JournalError = JournalFullError(
            f"the disk of the journal {path} has no room ({error}); free some, what was accepted is safe"
        )
    elif is_busy(error):
        told = JournalError(f"the journal {path} was locked by another process for too long ({error})")
    elif is_damage(error):
        told = JournalError(
            f"the journal {path} is damaged ({error}); start again, what can be read is carried over"
        )
    else:
        told = JournalError(f"the journal {path} cannot be used at the moment: {error}")
    told.__cause__ = error
    return told


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0)


def _primary(error: BaseException) -> int:
    return _code(error) & 0xFF
