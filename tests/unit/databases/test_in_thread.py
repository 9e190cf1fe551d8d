"""What a thread brings that nobody waits for any more is undone: a login given up leaves no connection."""

from __future__ import annotations

import asyncio
import threading

import pytest

from holdfast.databases.sqlalchemy_driver import in_thread

SOON = 10.0


class Login:
    """A connection that is there when it is let through, and closed or not."""

    def __init__(self) -> None:
        self.begun, self.through, self.closed = threading.Event(), threading.Event(), threading.Event()

    def open(self) -> str:
        self.begun.set()
        assert self.through.wait(SOON)
        return "connection"

    def close(self, connection: str) -> None:
        assert connection == "connection"
        self.closed.set()

    async def asked(self) -> asyncio.Task[str]:
        task = asyncio.create_task(in_thread(self.open, undo=self.close))
        assert await asyncio.to_thread(self.begun.wait, SOON)
        return task


async def test_what_comes_in_time_is_kept() -> None:
    login = Login()
    login.through.set()

    assert await in_thread(login.open, undo=login.close) == "connection"
    assert not login.closed.is_set()


async def test_what_comes_after_the_cancellation_is_undone() -> None:
    login = Login()
    task = await login.asked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    login.through.set()

    assert await asyncio.to_thread(login.closed.wait, SOON)


async def test_what_comes_before_the_cancellation_is_noticed_is_undone() -> None:
    """The thread has handed it over, and whoever waited has not run yet."""
    login = Login()
    task = await login.asked()
    login.through.set()
    _joined()  # it has handed over; this loop has not turned since
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await asyncio.to_thread(login.closed.wait, SOON)


@pytest.mark.parametrize("early", [True, False])
def test_what_comes_to_a_loop_that_has_ended_is_undone(early: bool) -> None:
    login = Login()

    async def leaving() -> None:
        await login.asked()
        if early:
            login.through.set()

    asyncio.run(leaving())
    login.through.set()

    assert login.closed.wait(SOON)


async def test_what_fails_is_raised_and_leaves_nothing_to_undo() -> None:
    def refused() -> None:
        raise ConnectionRefusedError("no")

    with pytest.raises(ConnectionRefusedError, match="no"):
        await in_thread(refused, undo=lambda _: pytest.fail("there is nothing to undo"))


def _joined() -> None:
    for thread in threading.enumerate():
        if thread.name == "holdfast-probe":
            thread.join(SOON)
