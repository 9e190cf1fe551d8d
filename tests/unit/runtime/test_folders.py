"""The folders that are needed exist and can be written to (BOOT-1)."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.runtime.folders import look, prepare
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


def test_a_folder_that_may_be_needed_later_is_looked_at_and_not_made(tmp_path: Path) -> None:
    """BOOT-1: nothing is left where nothing is kept."""
    look("HOLDFAST_STATE_DIR", tmp_path / "var" / "state")
    look("HOLDFAST_STATE_DIR", tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        ("file", "is no folder"),
        ("file/state", "cannot be made: {file} is no folder"),
        ("nowhere", "is no folder"),
    ],
)
def test_a_file_in_its_place_is_found_before_anything_needs_it(
    tmp_path: Path, place: str, wrong: str
) -> None:
    """BOOT-1: in its phase, whether or not a journal is asked for."""
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")

    with pytest.raises(StartFailure) as caught:
        look("HOLDFAST_STATE_DIR", tmp_path / place)
    assert (caught.value.phase, caught.value.exit_status) == ("filesystem", Exit.CANNOT_CREATE)
    told = f"HOLDFAST_STATE_DIR={tmp_path / place} {wrong.format(file=tmp_path / 'file')}"
    assert caught.value.description == told
