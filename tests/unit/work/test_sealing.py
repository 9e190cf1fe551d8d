"""A journal encrypted at rest: unreadable without its key, readable with it whatever happened (JRN-1)."""

from __future__ import annotations

import builtins
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from holdfast.events import Bus, Event
from holdfast.work.entry import Answer, Holder, New, Outcome, State
from holdfast.work.events import JournalDamaged
from holdfast.work.journal import JournalError, JournalUnusableError
from holdfast.work.journal_sqlite import FILE, SqliteJournal, open_sqlite
from holdfast.work.sealing import Seal

SECRET = "correct horse battery staple"
NOW = 1_000_000.0
HERE = Holder("one", "here", os.getpid(), 1.0)
PRIVATE = ("4111-1111", "bearer-of-secrets", "/orders?card=yes", "made-for-you")


def new(name: str) -> New:
    return New(
        name,
        "k",
        name,
        "POST",
        PRIVATE[2],
        ((b"authorization", PRIVATE[1].encode()),),
        PRIVATE[0].encode(),
        None,
        NOW,
    )


def opened(folder: Path, secret: str | None = SECRET) -> SqliteJournal:
    return open_sqlite(folder, max_bytes=10_000_000, seal=Seal(secret) if secret else None)


def filled(folder: Path, names: str = "abc") -> Path:
    journal = opened(folder)
    for name in names:
        journal.accept(new(name)).result()
    journal.lease(1, HERE, NOW + 15, NOW).result()
    answer = Answer(201, ((b"x-who", PRIVATE[3].encode()),), PRIVATE[3].encode())
    assert journal.finish(1, HERE, Outcome(State.DONE, answer), NOW).result()
    journal.close()
    return folder / FILE


def test_neither_request_nor_answer_can_be_read_from_the_file(tmp_path: Path) -> None:
    stored = filled(tmp_path).read_bytes()

    assert not [text for text in PRIVATE if text.encode() in stored]


def test_with_the_key_all_is_as_it_was_sent(tmp_path: Path) -> None:
    filled(tmp_path)

    journal = opened(tmp_path)

    done, *waiting = journal.listed(None, 10).result()
    assert [entry.new for entry in (done, *waiting)] == [new(name) for name in "abc"]
    assert done.answer is not None
    assert done.answer.body == PRIVATE[3].encode()
    journal.close()


@pytest.mark.parametrize(
    ("secret", "told"), [("another", "another key"), (None, "sealed; set HOLDFAST_JOURNAL_KEY")]
)
def test_another_key_or_none_is_refused_at_the_start(tmp_path: Path, secret: str | None, told: str) -> None:
    filled(tmp_path)

    with pytest.raises(JournalUnusableError, match=told) as refused:
        opened(tmp_path, secret)
    assert SECRET not in str(refused.value)
    opened(tmp_path).close()


def test_a_journal_may_be_given_a_key_later(tmp_path: Path) -> None:
    journal = opened(tmp_path, None)
    journal.accept(new("plain")).result()
    journal.close()

    journal = opened(tmp_path)
    journal.accept(new("sealed")).result()

    assert [entry.new for entry in journal.listed(None, 10).result()] == [new("plain"), new("sealed")]
    journal.close()


def test_a_sealed_request_cannot_take_the_place_of_another(tmp_path: Path) -> None:
    """The checksum is no secret: whoever may write the file could make it fit."""
    path = filled(tmp_path)
    with sqlite3.connect(path) as other:
        other.execute(
            "UPDATE requests SET content = (SELECT content FROM requests WHERE number = 3) WHERE number = 2"
        )
    other.close()
    journal = opened(tmp_path)

    assert [entry.number for entry in journal.lease(10, HERE, NOW + 15, NOW).result()] == [3]
    with pytest.raises(JournalError, match="not what was written"):
        journal.find("b").result()
    journal.close()


def test_a_seal_holds_only_for_what_it_belongs_to() -> None:
    seal = Seal(SECRET)
    sealed = seal.seal(b"plain", b"request 1")

    assert seal.open(sealed, b"request 1") == b"plain"
    assert Seal(SECRET).open(sealed, b"request 1") == b"plain"  # the salt travels along
    assert seal.seal(b"plain", b"request 1") != sealed
    for other, binding in ((seal, b"request 2"), (Seal("another"), b"request 1")):
        with pytest.raises(ValueError, match="another key"):
            other.open(sealed, binding)


@pytest.mark.parametrize("page", [0, 1, 2, 4, 5])  # 3 holds the requests
def test_a_damaged_sealed_journal_is_still_readable_with_its_key_only(tmp_path: Path, page: int) -> None:
    """JRN-3: the salt stands in each sealed request too."""
    path = filled(tmp_path, "abcdefghij")
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(os.urandom(4096))

    with pytest.raises(JournalUnusableError, match="sealed with another key"):
        opened(tmp_path, "another")
    told: list[Event] = []
    bus = Bus()
    bus.subscribe(told.append)
    journal = open_sqlite(tmp_path, max_bytes=10_000_000, seal=Seal(SECRET), bus=bus)

    found = journal.listed(None, 100).result()
    assert not any(isinstance(one, JournalDamaged) for one in told)  # the first start has mended it
    assert all(entry.new == new(entry.new.name) for entry in found)
    assert len(found) == 10
    journal.close()


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(JournalUnusableError, match="HOLDFAST_JOURNAL_KEY is empty"):
        Seal("")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)

    with pytest.raises(JournalUnusableError, match=r"pip install 'holdfast\[encryption\]'"):
        Seal(SECRET)


def test_no_secret_is_shown() -> None:

    assert SECRET not in repr(Seal(SECRET))
