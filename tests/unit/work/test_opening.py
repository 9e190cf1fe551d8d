"""The journal that the settings name is opened, and its secrets are in no message (JRN-5)."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from holdfast.work.journal import JournalInaccessibleError, JournalUnusableError
from holdfast.work.opening import Place, is_there, open_journal


def test_a_file_in_the_folder_of_what_we_keep(tmp_path: Path) -> None:
    place = Place(folder=tmp_path / "state", max_bytes=1 << 20)
    assert not is_there(place)

    opened = open_journal(place)
    opened.close()

    assert is_there(place)
    assert opened.place == str(tmp_path / "state" / "journal.sqlite3")


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.EIO])
def test_a_folder_that_cannot_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """JRN-1: whatever this version of Python makes of it."""

    def refuse(path: Path, **_: object) -> None:
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(Path, "stat", refuse)

    with pytest.raises(JournalUnusableError, match="HOLDFAST_STATE_DIR") as told:
        is_there(Place(folder=tmp_path, max_bytes=1 << 20))
    assert isinstance(told.value, JournalInaccessibleError) == (error != errno.EIO)
    assert f"uid {os.getuid()}" in str(told.value)
    assert str(tmp_path) in str(told.value)


@pytest.mark.parametrize("what", ["nothing", "a file for a folder", "a folder for the file"])
def test_what_is_no_journal_is_none(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "state"
    if what == "a file for a folder":
        folder.touch()
    elif what == "a folder for the file":
        (folder / "journal.sqlite3").mkdir(parents=True)

    assert not is_there(Place(folder=folder, max_bytes=1 << 20))


def test_another_key_is_refused(tmp_path: Path) -> None:
    open_journal(Place(folder=tmp_path, max_bytes=1 << 20, key="one long secret")).close()

    with pytest.raises(JournalUnusableError):
        open_journal(Place(folder=tmp_path, max_bytes=1 << 20, key="another long secret"))


def test_a_key_seals_nothing_for_whoever_may_not_begin_a_seal(tmp_path: Path) -> None:
    """JRN-1: the journal goes on as it was, with its own settings."""
    plain = Place(folder=tmp_path, max_bytes=1 << 20)
    sealed = Place(folder=tmp_path, max_bytes=1 << 20, key="one long secret")
    open_journal(plain).close()

    with pytest.raises(JournalUnusableError, match="is not sealed; leave HOLDFAST_JOURNAL_KEY out"):
        open_journal(sealed, begins_seal=False)
    open_journal(plain).close()
    open_journal(sealed).close()
    open_journal(sealed, begins_seal=False).close()


def test_redis_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith(("redis", "holdfast.work.journal_redis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    place = Place(folder=tmp_path, max_bytes=1, url="redis://localhost/0")

    with pytest.raises(JournalUnusableError, match=r"holdfast\[redis\]"):
        open_journal(place)


def test_no_secret_is_in_what_it_says_of_itself(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, max_bytes=1, url="redis://:hunter2@cache/0", key="s3cr3t")

    assert "hunter2" not in f"{place} {place!r}"
    assert "s3cr3t" not in f"{place} {place!r}"
