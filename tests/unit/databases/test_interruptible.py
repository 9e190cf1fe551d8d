"""DB-10: a connection that is there in the very moment of a cancellation is given back, not leaked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from fake_driver import FakeDriver

from holdfast.databases.database import Database
from holdfast.databases.sqlalchemy_connect import _opened


@pytest.fixture
def database() -> Database:
    return Database("shop", "postgresql://db/shop", FakeDriver())


def at_once(task: asyncio.Task[str]) -> None:
    """While the connection is being handed over."""
    task.cancel()


def right_after(task: asyncio.Task[str]) -> None:
    """Between its arrival and the waking of whoever waits for it."""
    asyncio.get_running_loop().call_soon(task.cancel)


@pytest.mark.parametrize("cancel", [at_once, right_after])
async def test_what_arrives_with_the_cancellation_is_undone(
    database: Database, cancel: Callable[[asyncio.Task[str]], None]
) -> None:
    undone: list[str] = []

    def open_() -> str:
        cancel(task)
        return "connection"

    task = asyncio.create_task(_opened(database, open_, undone.append))
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)

    assert undone == ["connection"]
    assert database.connecting == {}


async def test_what_arrives_in_peace_is_kept(database: Database) -> None:
    undone: list[str] = []

    assert await _opened(database, lambda: "connection", undone.append) == "connection"
    assert (undone, database.connecting) == ([], {})


async def test_the_watch_ends_the_wait_with_an_error_of_its_own(database: Database) -> None:
    from sqlalchemy.util import await_only

    task = asyncio.create_task(_opened(database, lambda: await_only(asyncio.sleep(60)), lambda _: None))
    await asyncio.sleep(0)
    next(iter(database.connecting.values())).end()

    with pytest.raises(ConnectionAbortedError, match="database 'shop' fell silent"):
        await task
    assert database.connecting == {}


def test_ending_a_wait_whose_loop_is_closed_disturbs_nobody(database: Database) -> None:
    from sqlalchemy.util import await_only

    ends: list[Callable[[], None]] = []

    async def begin() -> None:
        task = asyncio.create_task(_opened(database, lambda: await_only(asyncio.sleep(60)), lambda _: None))
        await asyncio.sleep(0)
        ends.extend(opening.end for opening in database.connecting.values())
        task.cancel()

    asyncio.run(begin())
    ends[0]()

    assert database.connecting == {}
