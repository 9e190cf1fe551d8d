"""TXN-3: a row that was changed since it was read: both versions told and raised, nothing attempted again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hooked import EVERY, POSTGRESQL, Flavour, isolated
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.orm.exc import StaleDataError
from transacting import Note, Shop, Stock, left, opened, told

from holdfast import ConcurrentModification
from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.faults.classify import classify
from holdfast.work.events import TransactionRetried, TransactionRolledBack, VersionConflict

every = pytest.mark.parametrize("flavour", EVERY, ids=str)
again = pytest.mark.parametrize("again", [False, True], ids=["transaction", "run_transaction"])
NOTES = Note.__table__
THIRD = NOTES.c.id == 3
OURS = {"id": 3, "text": "ours", "password": "hunter2", "version": 1}
THEIRS = {"id": 3, "text": "theirs", "password": "hunter3", "version": 2}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, tmp_path: Path
) -> AsyncIterator[Shop]:
    """Three notes in their first version."""
    async with opened(flavour, shared_postgresql, tmp_path) as shop:
        notes = [{"id": number, "text": "first", "password": "hunter2", "version": 1} for number in (1, 2, 3)]
        await shop.plainly(lambda connection: connection.execute(NOTES.insert(), notes))
        yield shop


def read_before(text: str = "first") -> Note:
    """The third note as some earlier transaction read it."""
    note = Note(**{**OURS, "text": text})
    make_transient_to_detached(note)
    return note


def changing(session: Session) -> Note:
    """Work on two rows of stock and notes that are as they were read, and on one that is not."""
    session.get_one(Stock, 1).left = 0
    for number in (1, 2):
        session.get_one(Note, number).text = "ours too"
    note = read_before()
    session.add(note)
    note.text = "ours"
    return note


def deleting(session: Session) -> None:
    note = read_before("ours")
    session.add(note)
    session.delete(note)


@again
@every
async def test_a_row_that_was_changed_is_shown_in_both_versions(shop: Shop, again: bool) -> None:
    """The application gets whole rows to merge; events hold no secret."""
    await shop.plainly(lambda connection: connection.execute(NOTES.update().where(THIRD).values(THEIRS)))
    attempts: list[int] = []

    def work(session: Session) -> None:
        attempts.append(1)
        changing(session)

    with (
        told(VersionConflict) as conflicts,
        told(TransactionRolledBack) as rolled_back,
        told(TransactionRetried) as retried,
        pytest.raises(ConcurrentModification) as raised,
    ):
        await (shop.run if again else shop.once)(work, sessions=True)

    conflict = raised.value
    assert (conflict.table, conflict.identity) == ("notes", (3,))
    assert (conflict.ours, conflict.theirs) == (OURS, THEIRS)
    assert isinstance(conflict.__cause__, StaleDataError)
    assert (classify(conflict).status, classify(conflict).transient) == (409, False)
    assert "hunter" not in f"{conflict} {conflict!r}"
    (event,) = conflicts
    assert (event.table, event.identity) == ("notes", "3")
    assert event.ours == {**OURS, "password": event.ours["password"]}
    assert event.theirs == {**THEIRS, "password": event.ours["password"]}
    assert "hunter" not in str(event)
    assert (len(attempts), len(rolled_back), retried) == (1, 1, [])
    assert await shop.once(left) == 10


@again
@every
async def test_a_row_that_is_gone_has_no_other_version(shop: Shop, again: bool) -> None:
    await shop.plainly(lambda connection: connection.execute(NOTES.delete().where(THIRD)))
    with told(VersionConflict) as conflicts, pytest.raises(ConcurrentModification, match="deleted") as raised:
        await (shop.run if again else shop.once)(changing, sessions=True)

    assert (raised.value.ours, raised.value.theirs) == (OURS, None)
    assert [one.theirs for one in conflicts] == [None]


@every
async def test_a_stale_row_is_not_deleted(shop: Shop) -> None:
    await shop.plainly(lambda connection: connection.execute(NOTES.update().where(THIRD).values(THEIRS)))
    with pytest.raises(ConcurrentModification) as raised:
        await shop.once(deleting, sessions=True)

    assert (raised.value.identity, raised.value.theirs) == ((3,), THEIRS)


@every
async def test_an_error_that_is_caught_inside_is_the_works_own_affair(shop: Shop) -> None:
    await shop.plainly(lambda connection: connection.execute(NOTES.update().where(THIRD).values(THEIRS)))

    def work(session: Session) -> str:
        session.get_one(Stock, 1).left = 5
        session.flush()
        try:
            with session.begin_nested():
                session.add(note := read_before())
                note.text = "ours"
        except StaleDataError:
            return "kept theirs"
        return "kept ours"

    with told(VersionConflict) as conflicts:
        assert await shop.once(work, sessions=True) == "kept theirs"

    assert conflicts == []
    assert await shop.once(left) == 5


@every
async def test_without_a_version_the_error_is_the_librarys(shop: Shop) -> None:
    """A row without version that is gone: there is nothing to compare."""

    def work(session: Session) -> None:
        row = Stock(id=99, left=1)
        make_transient_to_detached(row)
        session.add(row)
        row.left = 2

    with pytest.raises(StaleDataError):
        await shop.run(work, sessions=True)


@pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
async def test_a_row_that_changes_in_between_is_shown_too(shop: Shop, shared_postgresql: PostgreSQL) -> None:
    """Read, then changed by somebody else, then written: READ COMMITTED lets that happen."""

    def work(session: Session) -> None:
        session.get_one(Note, 3).text = "ours"
        shared_postgresql.execute(
            "UPDATE notes SET text = 'theirs', password = 'hunter3', version = 2 WHERE id = 3"
        )

    with pytest.raises(ConcurrentModification) as raised:
        await shop.run(work, sessions=True)

    assert (raised.value.ours, raised.value.theirs) == (OURS, THEIRS)


@pytest.mark.parametrize("flavour", EVERY[:1], ids=str)
async def test_a_row_that_cannot_be_read_any_more_says_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.plainly(lambda connection: connection.execute(NOTES.update().where(THIRD).values(THEIRS)))

    def work(session: Session) -> None:
        changing(session)
        monkeypatch.setattr("holdfast.work.sqlalchemy_versions._read", _unreadable)

    with pytest.raises(ConcurrentModification) as raised:
        await shop.run(work, sessions=True)

    assert raised.value.theirs is None
    assert "could not be read: ConnectionResetError" in raised.value.__notes__[0]


def _unreadable(*_: object) -> None:
    raise ConnectionResetError
