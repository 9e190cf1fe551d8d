"""The phase "filesystem": the folders that are needed exist and can be written to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from holdfast.settings.failure import Exit, StartFailure


def prepare(folders: dict[str, Path | None]) -> list[str]:
    """Make each folder that was asked for, by the name of its setting; what was prepared.

    Raises `StartFailure` naming the folder, the setting and the cause. Nothing is left behind.
    """
    ready = []
    for setting, folder in folders.items():
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"holdfast")
        except OSError as error:
            wrong = f"cannot be written to: {error.strerror or error}"
            action = f"Make it writable for this user ({_user()})"
            raise _failure(setting, folder, wrong, action) from error
        ready.append(str(folder))
    return ready


def look(setting: str, folder: Path) -> None:
    """See that *folder* is one or could become one; it is not made, for who needs it is known later.

    Raises `StartFailure` as `prepare` does.
    """
    there = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), None)
    if there is not None and not there.is_dir():
        wrong = "is no folder" if there == folder else f"cannot be made: {there} is no folder"
        raise _failure(setting, folder, wrong, f"Move {there} away")


def _failure(setting: str, folder: Path, wrong: str, action: str) -> StartFailure:
    description = f"{setting}={folder} {wrong}"
    action = f"{action}, or name another folder in {setting}."
    return StartFailure("filesystem", description, action, Exit.CANNOT_CREATE)


def _user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "the current one"
