"""Rows with a version that a session was about to write, and the row that was there instead.

A failed flush leaves nothing to look at: SQLAlchemy has rolled back and expired its objects. So
what is about to be flushed is noted before, only for classes with a `version_id_col`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.exc import StaleDataError

from holdfast.events import BUS
from holdfast.faults.redact import redact, redact_text
from holdfast.faults.said import said
from holdfast.work.events import VersionConflict
from holdfast.work.transactions_errors import ConcurrentModification

MOST = 50  # rows that are read again to find the one that has changed
_ON_TABLE = re.compile(r"on table '([^']+)'")


@dataclass(frozen=True, slots=True)
class Version:
    """A row as its session was about to write it. `seen` is the version that it had read."""

    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    ours: dict[str, Any]
    seen: Any

    @property
    def version(self) -> str:
        """The attribute that holds the version."""
        return str(self.mapper.get_property_by_column(_version_column(self.mapper)).key)


class Versions:
    """The rows of the latest flush of one attempt."""

    def __init__(self) -> None:
        self._latest: list[Version] = []

    def look(self, session: Session, *_: Any) -> None:
        """Note what *session* is about to flush."""
        rows = (*session.dirty, *session.deleted)
        self._latest = [one for one in map(_noted, rows) if one is not None] if rows else []

    def concern(self, error: StaleDataError) -> bool:
        """Whether *error* may be about one of them."""
        return bool(self._on_table_of(error))

    def conflict(self, session: Session, error: StaleDataError) -> ConcurrentModification:
        """Find the row that has changed, by *session*, which is fresh; tells it on the bus.

        When the row cannot be read a note says so.
        """
        rows = self._on_table_of(error)
        try:
            ours, theirs = _changed(session, rows[:MOST])
        except (SQLAlchemyError, OSError) as failed:
            conflict = _conflict(error, rows[0], None)
            conflict.add_note(f"the row that is there now could not be read: {said(failed)}")
            return conflict
        return _conflict(error, ours, theirs)

    def _on_table_of(self, error: StaleDataError) -> list[Version]:
        table = _table_of(error)
        if table is None:
            return self._latest
        return [one for one in self._latest if table in {each.description for each in one.mapper.tables}]


def _table_of(error: StaleDataError) -> str | None:
    found = _ON_TABLE.search(str(error))
    return found.group(1) if found else None


def _version_column(mapper: Mapper[Any]) -> Any:
    return mapper.version_id_col


def _noted(row: object) -> Version | None:
    state = inspect(row)
    assert state is not None
    mapper: Mapper[Any] = state.mapper
    if mapper.version_id_col is None or state.identity is None:
        return None
    ours = {one.key: state.dict[one.key] for one in mapper.column_attrs if one.key in state.dict}
    key = mapper.get_property_by_column(_version_column(mapper)).key
    return Version(mapper, tuple(state.identity), ours, state.committed_state.get(key, ours.get(key)))


def _changed(session: Session, rows: list[Version]) -> tuple[Version, dict[str, Any] | None]:
    """The first of *rows* that is not there as it was read, with what is there now."""
    first: dict[str, Any] | None = None
    for number, row in enumerate(rows):
        theirs = _read(session, row)
        if theirs is None or theirs[row.version] != row.seen:
            return row, theirs
        if number == 0:
            first = theirs
    return rows[0], first


def _read(session: Session, row: Version) -> dict[str, Any] | None:
    mapper = row.mapper
    keys = [one.key for one in mapper.column_attrs]
    query = select(*(getattr(mapper.class_, key) for key in keys))
    for column, value in zip(mapper.primary_key, row.identity, strict=True):
        query = query.where(column == value)
    found = session.execute(query).first()
    return None if found is None else dict(zip(keys, found, strict=True))


def _conflict(error: StaleDataError, row: Version, theirs: dict[str, Any] | None) -> ConcurrentModification:
    table = _table_of(error) or str(row.mapper.local_table.description)
    BUS.publish(
        VersionConflict(
            table=table,
            identity=redact_text(", ".join(map(str, row.identity))),
            ours=_redacted(row.ours),
            theirs=None if theirs is None else _redacted(theirs),
        )
    )
    return ConcurrentModification(table, row.identity, row.ours, theirs)


def _redacted(values: dict[str, Any]) -> dict[str, Any]:
    copied = redact(values)
    return copied if isinstance(copied, dict) else {}
