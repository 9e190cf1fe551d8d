"""The folders that are needed exist and can be written to (BOOT-1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.runtime.folders import prepare
from holdfast.settings.failure import Exit, StartFailure


def test_they_are_made_and_left_empty(tmp_path: Path) -> None:
    logs, uploads = tmp_path / "var" / "logs", tmp_path / "uploads"

    assert prepare({"LOG_DIR": logs, "UPLOAD_DIR": uploads}) == [str(logs), str(uploads)]
    assert list(logs.iterdir()) == list(uploads.iterdir()) == []
    assert prepare({"LOG_DIR": logs}) == [str(logs)]


def test_what_nobody_asked_for_is_not_made() -> None:
    assert prepare({"LOG_DIR": None, "UPLOAD_DIR": None}) == []


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_what_cannot_be_written_is_named_with_its_setting(tmp_path: Path, place: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    folder = file if place == "file" else file / "logs"

    with pytest.raises(StartFailure) as caught:
        prepare({"LOG_DIR": folder})
    assert (caught.value.phase, caught.value.exit_status) == ("filesystem", Exit.CANNOT_CREATE)
    assert f"LOG_DIR={folder} cannot be written to" in caught.value.description
    assert "LOG_DIR" in caught.value.action
