"""One core for all threads of this process, for the moment in which they hand one lock around.

Threads that run Python take turns. On several cores each turn wakes another core and begins with cold
caches: in a virtual machine a third of the time goes there, just when hundreds wait (decisions/0011).
While a line is emptied by threads the whole process stays on the core where its loop runs; the
window (`policy/window.py`) says when, from what the process has used. Then every thread gets back
what it had, and children that were started meanwhile get what they would have had.

Linux only: elsewhere, where the system refuses, and where Python has no such lock, nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import process_time

from holdfast.policy.window import Usage

_PROCESSOR = 36  # where /proc/…/stat says on which core, counted after the name in brackets

if sys.platform == "linux":
    from resource import RUSAGE_SELF, getrusage

    def usage() -> Usage:
        """What the process has used until now."""
        used = getrusage(RUSAGE_SELF)
        return Usage(used.ru_utime + used.ru_stime, used.ru_nvcsw)

else:

    def usage() -> Usage:
        """What the process has used until now; how often its threads waited is not known here."""
        return Usage(process_time(), 0)


class OneCore:
    """Keeps the threads of this process on one core while anybody asks for it. From any thread."""

    def __init__(self) -> None:
        self._askers: set[object] = set()
        self._confined: Confined | None = None
        self._lock = Lock()

    @property
    def asked(self) -> bool:
        """Whether anybody wants it."""
        return bool(self._askers)

    def ask(self, asker: object, *, wanted: bool) -> None:
        """*asker* wants it from now on, or no longer."""
        if (asker in self._askers) is wanted:
            return
        with self._lock:
            if wanted:
                self._askers.add(asker)
                if self._confined is None:
                    self._confined = confine()
            else:
                self._askers.discard(asker)
                if self._confined is not None and not self._askers:
                    release(self._confined)
                    self._confined = None


ONE_CORE = OneCore()


@dataclass(frozen=True, slots=True)
class Confined:
    """What was changed: which core, what each thread had before, which children were there."""

    core: int
    had: dict[int, set[int]]
    children: frozenset[int]


def confine() -> Confined | None:
    """Put every thread of this process on the core of this one. None: it is not done here."""
    if sys.platform != "linux" or not getattr(sys, "_is_gil_enabled", _always)():
        return None
    had: dict[int, set[int]] = {}
    try:
        confined = Confined(_this_core(), had, frozenset(_children()))
    except OSError:  # no /proc
        return None
    try:
        for thread in _threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended
                had[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, {confined.core})
    except OSError:  # the system does not let us
        release(confined)
        return None
    return confined


def release(confined: Confined) -> None:
    """Give every thread back what it had, and what was started since what the main thread had."""
    usual = confined.had.get(os.getpid(), os.sched_getaffinity(0))
    for thread in _threads():
        _give_back(thread, confined.core, confined.had.get(thread, usual))
    for child in set(_children()) - confined.children:
        with contextlib.suppress(OSError):  # it has ended
            for thread in _threads(str(child)):
                _give_back(thread, confined.core, usual)


def _give_back(thread: int, core: int, had: set[int]) -> None:
    with contextlib.suppress(OSError):  # it has ended, or is another user's by now
        if os.sched_getaffinity(thread) == {core}:  # else somebody has decided otherwise meanwhile
            os.sched_setaffinity(thread, had)


def _this_core() -> int:
    stat = Path("/proc/thread-self/stat").read_text()
    return int(stat.rpartition(")")[2].split()[_PROCESSOR])


def _children() -> Iterable[int]:
    """Processes that threads of this one have started."""
    for thread in _threads():
        with contextlib.suppress(OSError):  # it has ended, or the kernel does not tell
            yield from map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())


def _threads(process: str = "self") -> list[int]:
    return [int(task.name) for task in Path("/proc", process, "task").iterdir()]


def _always() -> bool:
    return True
