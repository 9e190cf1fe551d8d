"""The files of a journal, and the order in which a repaired one takes the place of a damaged one.

`.new` is being written; once it is whole and synced it is renamed to `.carried`, and from that moment
on it is the journal, wherever we are killed: whoever opens it next finishes putting it in place.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path


class Places:
    """Paths round that of the journal; *now* names what is put aside."""

    def __init__(self, path: Path, now: float) -> None:
        self.path = path
        self.log = path.with_name(path.name + "-wal")
        self.shared = path.with_name(path.name + "-shm")
        self.lock = path.with_name(path.name + ".lock")
        self.new = path.with_name(path.name + ".new")
        self.carried = path.with_name(path.name + ".carried")
        self.patched = path.with_name(path.name + ".patched")
        self._stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")

    def begin_anew(self) -> None:
        """An empty file at `.new`, for us alone; what an earlier try left goes."""
        for left in (self.new, self.new.with_name(self.new.name + "-journal")):
            left.unlink(missing_ok=True)
        os.close(os.open(self.new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def remove_patched(self) -> None:
        """Remove the copy that a repair worked on."""
        for end in ("", "-wal", "-shm"):
            self.patched.with_name(self.patched.name + end).unlink(missing_ok=True)

    def declare_whole(self) -> None:
        """What is at `.new` is the journal from now on."""
        descriptor = os.open(self.new, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.new.replace(self.carried)
        sync_folder(self.path)

    def put_carried_in_place(self) -> Path:
        """Put the damaged file aside and the repaired one in its place; where the damaged one is kept."""
        kept = self.put_aside()
        self.carried.replace(self.path)
        sync_folder(self.path)
        return kept

    def put_aside(self) -> Path:
        """Keep what is at the journal's name, and its log: a strange log would be written into a new file."""
        kept = self._free_name()
        if self.path.exists():
            self.path.replace(kept)
        if self.log.exists():
            self.log.replace(kept.with_name(kept.name + "-wal"))
        self.shared.unlink(missing_ok=True)
        sync_folder(self.path)
        return kept

    def _free_name(self) -> Path:
        kept = first = self.path.with_name(f"{self.path.name}.damaged-{self._stamp}")
        number = 1
        while kept.exists() or kept.with_name(kept.name + "-wal").exists():
            number += 1
            kept = first.with_name(f"{first.name}-{number}")
        return kept


def sync_folder(path: Path) -> None:
    """Make what happened to names in the folder of *path* durable, where folders can be synced."""
    if os.name == "nt":
        return
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
