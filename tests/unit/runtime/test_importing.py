"""What becomes of a connection that fails while the application is imported (BOOT-2, BOOT-3)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database
from holdfast.events import Bus, ConnectAttempted
from holdfast.runtime.importing import SOON_S, ImportEnded, Importing
from holdfast.runtime.reach import Patience
from holdfast.settings.failure import Exit, StartFailure

REFUSED = ConnectionRefusedError(111, "Connection refused")


class NoDatabaseError(Exception):
    sqlstate = "3D000"


class Driver:
    library = "asyncpg"
    networked = True
    provisional = False

    def crowded(self) -> bool:
        return False


class Story:
    """One import, its one database, and what was told."""

    def __init__(self, attempts: int = 3, absent: Any = None) -> None:
        self.registry = Registry()
        self.database = self.registry.adopt(("db",), "shop", "postgresql://app:***@db/shop", Driver)
        self.told: list[ConnectAttempted] = []
        bus = Bus()
        bus.subscribe(lambda event: self.told.append(event))  # type: ignore[arg-type]
        self.importing = Importing(self.registry, Patience(attempts, 2.5), Random(5), absent, bus)

    def fails(self, error: Exception) -> float | None:
        return self.importing.pause(self.database, error)

    def ends(self, cause: BaseException, *before: Exception, stopped: bool = False) -> BaseException:
        """What the import ends with when it fails of *cause*."""
        with pytest.raises((StartFailure, ImportEnded)) as caught:
            self._imported(cause, before, stopped)
        return caught.value

    def _imported(self, cause: BaseException, before: tuple[Exception, ...], stopped: bool) -> None:
        with self.importing.under_way():
            for error in before:
                self.fails(error)
            if stopped:
                self.importing.end()
            raise explained(cause)


def explained(cause: BaseException) -> StartFailure:
    """As `locate` gives it."""
    failed = StartFailure("application", "shop.py:3: it raised", "Correct it.", Exit.SOFTWARE)
    failed.__cause__ = cause
    return failed


def wrapped(error: Exception) -> Exception:
    """What an application makes of it."""
    try:
        try:
            raise error
        except Exception:
            raise KeyError("no tables")  # noqa: B904 - that is what applications do
    except KeyError as outer:
        return outer


def test_attempts_are_bounded_told_and_spaced_as_those_of_a_start() -> None:
    """BOOT-3: and then it fails; the application may go on to try, on its own account."""
    story = Story(attempts=3)

    delays = [story.fails(REFUSED) for _ in range(5)]

    dice = Random(5)
    assert delays == [dice.random() * 0.2, dice.random() * 0.4, None, None, None]
    assert [(one.attempt, one.attempts) for one in story.told] == [(1, 3), (2, 3), (3, 3)]


def test_the_databases_failure_is_told_whatever_the_application_made_of_it() -> None:
    """BOOT-2: exit 69."""
    story = Story(attempts=1)

    failed = story.ends(wrapped(REFUSED), REFUSED)

    assert (failed.phase, failed.exit_status) == ("databases", 69)
    assert "postgresql://app:***@db/shop could not be used (1 attempt)" in failed.description
    assert story.registry.importing is None


def test_what_fails_for_another_reason_is_told_as_it_is() -> None:
    failed = Story(attempts=1).ends(ValueError("no colour"), REFUSED)

    assert (failed.description, failed.exit_status) == ("shop.py:3: it raised", 70)


def test_what_is_no_fault_of_a_database_is_let_out_at_once() -> None:
    story = Story()

    assert story.fails(TypeError("unexpected keyword")) is None
    assert story.told == []


def test_what_no_waiting_cures_is_not_waited_for_without_a_database_either() -> None:
    """BOOT-2: `HOLDFAST_START_WITHOUT_DATABASE` means an absent one."""
    absent: list[Database] = []
    story = Story(absent=lambda database, error: absent.append(database))

    assert story.fails(NoDatabaseError("no such database")) is None
    assert absent == []


def test_where_it_may_be_absent_it_is_said_once_and_waited_for() -> None:
    """BOOT-2: in development."""
    absent: list[Database] = []
    story = Story(absent=lambda database, error: absent.append(database))

    assert [story.fails(REFUSED) for _ in range(50)] == [SOON_S] * 50
    assert absent == [story.database]
    assert story.told == []


def test_told_to_stop_nothing_is_waited_for_and_no_failure_is_told() -> None:
    """SHD-1."""
    story = Story()

    assert isinstance(story.ends(REFUSED, stopped=True), ImportEnded)

    story.importing.rest(3600)
    with pytest.raises(ImportEnded):
        story.fails(REFUSED)


def test_a_stop_while_it_serves_sends_nobody_away() -> None:
    """SHD-1: requests in flight finish; only an import is ended."""
    story = Story()
    with story.importing.under_way():
        pass

    story.importing.end()

    assert not story.database.dismissed
