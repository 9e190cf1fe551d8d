"""Entries of a journal, as tests want them."""

from __future__ import annotations

from typing import Any

from holdfast.work.entry import Answer, Entry, New, name_of


def a_new(id: str = "one", **changes: Any) -> New:  # noqa: A002
    given: dict[str, Any] = {
        "name": name_of(id),
        "key": "5eed",
        "order": "anna",
        "method": "POST",
        "target": "/orders?quick=1",
        "headers": ((b"Content-Type", b"application/json"),),
        "body": b'{"item": 1}',
        "client": "10.0.0.9",
        "journaled_at": 1000.0,
    }
    return New(**{**given, **changes})


def an_entry(number: int = 1, **changes: Any) -> Entry:
    given = {name: changes.pop(name) for name in list(changes) if name in New.__slots__}
    return Entry(number, a_new(**given), **changes)


def created(**headers: str) -> Answer:
    """What an application answers that made something of it."""
    pairs = {"content-type": "application/json", **headers}
    return Answer(201, tuple((a.encode(), b.encode()) for a, b in pairs.items()), b'{"id": 7}')
