"""What still goes on when everything else has ended: it is named, and does not keep the process.

The interpreter joins its threads, whatever they do and however long; a loop does the same with those
of its executor. So a thread that is told of nobody keeps a process that has stopped in order.
"""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from time import monotonic

_WAITS = frozenset({threading.__file__, queue.__file__})
_POOL = concurrent.futures.thread.__file__
_JOINS = "_do_shutdown"  # a loop's thread that only waits for those of its executor
_PYTHONS = os.path.join(os.path.dirname(os.__file__), "")  # noqa: PTH118, PTH120 - to begin a file name
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")  # noqa: PTH118, PTH120 - likewise
_LAST_WORDS_S = 3.0  # a log that is piped to a reader that stands still takes as long
_ANYIO = os.path.join("anyio", "_backends", "_asyncio.py")  # noqa: PTH118 - the end of a frame's file name


def at_work() -> list[str]:
    """The names of threads that would keep the process. One of a pool that waits for work ends by itself."""
    return [thread.name for thread in threading.enumerate() if _keeps(thread)]


def where_it_stands() -> str:
    """Where the application holds the main thread, `file:line in function`; empty when it does not."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and _is_pythons(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith(_OURS):
        return ""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def leave_at(moment: float, tell: Callable[[list[str]], None], status: int = 1) -> None:
    """Should the process still be there at *moment* (monotonic): *tell* who keeps it, and exit with *status*.

    The exit does not depend on *tell*: it may raise, or wait for what a blocked process never gives.
    """

    def say() -> None:
        with contextlib.suppress(Exception):
            tell(at_work())

    def wait() -> None:
        threading.Event().wait(max(0.0, moment - monotonic()))
        saying = threading.Thread(target=say, name="holdfast-last-words", daemon=True)
        saying.start()
        saying.join(_LAST_WORDS_S)
        os._exit(status)

    threading.Thread(target=wait, name="holdfast-leaving", daemon=True).start()


def _is_pythons(file: str) -> bool:
    installed = "site-packages" in file or "dist-packages" in file
    return file.startswith(("<", _PYTHONS)) and not installed


def _keeps(thread: threading.Thread) -> bool:
    if thread.daemon or thread is threading.main_thread() or _JOINS in thread.name:
        return False
    return not _waits_for_work(thread)


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether *thread* is a pool's, of the standard library or AnyIO, and has nothing to do."""
    frame = sys._current_frames().get(thread.ident or 0)
    in_queue = False
    while frame is not None and frame.f_code.co_filename in _WAITS:
        frame, in_queue = frame.f_back, True
    if frame is None:
        return False
    name, file = frame.f_code.co_name, frame.f_code.co_filename
    return (name, file) == ("_worker", _POOL) or (in_queue and name == "run" and file.endswith(_ANYIO))
