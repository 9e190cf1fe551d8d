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
            raise StartFailure(
                "filesystem",
                f"{setting}={folder} cannot be written to: {error.strerror or error}",
                f"Make it writable for this user ({_user()}), or name another folder in {setting}.",
                Exit.CANNOT_CREATE,
            ) from error
        ready.append(str(folder))
    return ready


def _user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else "the current one"
