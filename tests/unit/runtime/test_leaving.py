"""Which threads would keep a process that has stopped (SHD-2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.to_thread
import pytest

from holdfast.runtime.leaving import at_work


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, thread_name_prefix="pool") as made:
        yield made


def until(*names: str) -> None:
    """Wait until these, and none of them fewer, are at work."""
    give_up_at = time.monotonic() + 10
    while set(names) != {one for one in at_work() if one in {"poller", "pool_0", "AnyIO worker thread"}}:
        assert time.monotonic() < give_up_at, at_work()
        time.sleep(0.01)


def test_a_thread_of_the_applications_own_keeps_it_whatever_it_does() -> None:
    """In Python, or in a function of C without a frame of its own."""
    over = threading.Event()
    lock = threading.Lock()
    lock.acquire()
    threads = [threading.Thread(target=does, name="poller") for does in (over.wait, lock.acquire)]
    for thread, ends in zip(threads, (over.set, lock.release), strict=True):
        thread.start()
        until("poller")
        ends()
        thread.join()
        until()


def test_a_daemon_does_not() -> None:
    over = threading.Event()
    threading.Thread(target=over.wait, name="poller", daemon=True).start()
    until()
    over.set()


def test_a_pool_keeps_it_while_it_works(pool: ThreadPoolExecutor) -> None:
    over = threading.Event()
    working = pool.submit(over.wait)
    until("pool_0")
    over.set()
    working.result()
    until()
    asleep = pool.submit(time.sleep, 0.3)
    until("pool_0")
    asleep.result()
    until()


def test_anyios_threads_keep_it_while_they_work() -> None:
    async def story() -> None:
        over = threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, over.wait)
            await anyio.to_thread.run_sync(until, "AnyIO worker thread", abandon_on_cancel=False)
            over.set()

    anyio.run(story)
    until()
