"""Cleaning up after ourselves even when we are killed: a shell that waits for our end.

It holds the reading end of a pipe whose writing end only we have. A farewell ends it quietly; an end
of file without one means that this process is gone, and its script runs.
"""

from __future__ import annotations

import subprocess

_WAIT = "read farewell && exit 0\n"
_END_POSTGRESQL = """
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
# The number may have been given to another process: only one that stands in our folder is ours.
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
    kill -CONT "$pid"
    kill -QUIT "$pid"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
fi
rm -rf "$1"
"""


class Afterlife:
    """Runs a shell script, with `$1` as given, once this process has ended without saying farewell."""

    def __init__(self, script: str, argument: str) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT + script, "sh", argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # what ends our process group must not end it
        )

    def farewell(self) -> None:
        """Everything was cleaned up; the script will not run."""
        self._shell.communicate(b"farewell\n")


def after_postgresql(folder: str) -> Afterlife:
    """End the PostgreSQL that runs in *folder* and remove the folder, should we be killed."""
    return Afterlife(_END_POSTGRESQL, folder)
