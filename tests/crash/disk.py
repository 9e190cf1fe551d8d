"""A disk that can be filled: a small tmpfs where mounting is permitted, else a limit on the process.

The limit is that of file sizes: every file of the process, its log too, then has no room.
"""

from __future__ import annotations

import contextlib
import errno
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.drill.afterlife import Afterlife

_SIZE = "64m"
_REMOVE = 'umount -l "$1" 2>/dev/null; rm -rf "$1"'


class Disk:
    """A folder on a disk of its own, for the state of one process; a context manager."""

    def __init__(self, *, mount: bool = True) -> None:
        self._mount = mount
        self.mounted = False
        self._limited: int | None = None  # the process whose files may not grow

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-disk-"))
        self._afterlife = Afterlife(_REMOVE, str(self.folder))
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "none", str(self.folder)]
        if self._mount and shutil.which("mount"):
            self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
        shutil.rmtree(self.folder)
        self._afterlife.farewell()

    @property
    def state(self) -> Path:
        """The folder for HOLDFAST_STATE_DIR."""
        return self.folder / "state"

    def fill(self, pid: int) -> None:
        """Leave no room, for process *pid* at least."""
        if not self.mounted:
            self._limit(pid, 0)
            return
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            size = 1 << 20
            while size:
                try:
                    filler.write(b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self) -> None:
        """Let there be room again."""
        if self.mounted:
            (self.folder / "filler").unlink(missing_ok=True)
        elif self._limited is not None:
            self._limit(self._limited, resource.RLIM_INFINITY)

    def _limit(self, pid: int, size: int) -> None:
        self._limited = pid
        with contextlib.suppress(ProcessLookupError):  # killed meanwhile: its successor has no limit
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, most))
