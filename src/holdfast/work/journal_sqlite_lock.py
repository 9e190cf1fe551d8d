"""Who uses the journal's file: shared while it is open, alone while it is made or repaired.

Without it a process could put a repaired file in the place of one that others still write to, and
what they acknowledged would be lost. Windows has no such lock and needs none: it renames no open file.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from holdfast.work.journal import JournalUnusableError

_STEP_S = 0.01


class FileLock:
    """A lock on a file of its own, let go when its process ends, however it ends."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def shared(self, within: float) -> None:
        """Hold it beside others. Raises JournalUnusableError when *within* seconds have passed."""
        self._take(False, within, "another process is repairing it")

    def alone(self, within: float) -> None:
        """Hold it alone. Raises JournalUnusableError when *within* seconds have passed."""
        self._take(True, within, "it has to be repaired, and other processes use it: stop them all first")

    def release(self) -> None:
        """Let go, for good."""
        os.close(self._descriptor)

    def _take(self, alone: bool, within: float, otherwise: str) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        fcntl.flock(
            self._descriptor, fcntl.LOCK_UN
        )  # two that both wait for the other's end would wait for ever
        give_up_at = time.monotonic() + within
        kind = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB
        while True:
            try:
                fcntl.flock(self._descriptor, kind)
            except BlockingIOError as error:
                if time.monotonic() > give_up_at:
                    place = self._path.with_suffix("")
                    raise JournalUnusableError(
                        f"the journal {place} cannot be opened: {otherwise}"
                    ) from error
                time.sleep(_STEP_S)
            else:
                return
