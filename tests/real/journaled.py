"""Requests as a journal is given them in tests, and short words for what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.work.entry import Answer, Entry, Holder, New, Outcome, State, name_of
from holdfast.work.journal import Journal

ROOM = 1 << 20
ANNA = Holder("a" * 32, "far away", 11, 1.0)
BERT = Holder("b" * 32, "farther away", 12, 2.0)
GIVEN = Answer(201, ((b"Content-Type", b"text/plain"), (b"x", b"\xff\x00")), b"\x00made\xff")
DONE = Outcome(State.DONE, GIVEN)
FAILED = Outcome(State.FAILED, Answer(400), 0, "answered 400")
DEAD = Outcome(State.DEAD, None, 3, "answered 500")


def a_new(id: str = "one", **changes: Any) -> New:  # noqa: A002
    given: dict[str, Any] = {
        "name": name_of(id),
        "key": f"key of {id}",
        "order": id,
        "method": "POST",
        "target": f"/orders/{id}?caf\xe9",
        "headers": ((b"Content-Type", b"application/json"), (b"x-odd", b"\xff\x00:")),
        "body": b'{"item": 1}\x00\xff',
        "client": "10.0.0.9",
        "journaled_at": 1000.123456789,
    }
    return New(**{**given, **changes})


def accepted(journal: Journal, *ids: str, order: str | None = None) -> list[int]:
    """Accept requests named *ids*, one after the other; each is its own order's unless one is given."""
    news = [a_new(one, order=order or one) for one in ids]
    return [journal.accept(new).result() for new in news]


def leased(
    journal: Journal, most: int = 100, holder: Holder = ANNA, until: float = 130.0, now: float = 100.0
) -> list[int]:
    return [entry.number for entry in journal.lease(most, holder, until, now).result()]


def finished(
    journal: Journal, number: int, outcome: Outcome = DONE, holder: Holder = ANNA, now: float = 110.0
) -> bool:
    return journal.finish(number, holder, outcome, now).result()


def ended(journal: Journal, number: int, outcome: Outcome, now: float = 110.0) -> None:
    """Have *number* leased alone, and end it so."""
    assert number in leased(journal, now=now, until=now + 30)
    assert finished(journal, number, outcome, now=now)


def known(journal: Journal, number: int) -> Entry:
    entry = journal.entry(number).result()
    assert entry is not None
    return entry


def numbers(entries: Sequence[Entry]) -> list[int]:
    return [entry.number for entry in entries]
