"""A bounded queue and one thread that writes: whoever logs hands over a line and never waits.

The owner of the stream is the writer's thread. It starts with the first line, and again in a forked
child. Past `limit` waiting lines new ones are dropped, counted and reported; a stream that breaks,
fills up or stands still costs lines (`lost`), never an exception in whoever logs. After `close`
lines are written by their own thread: what is said while the interpreter ends is not lost.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TextIO, TypeVar

from holdfast.clock import SYSTEM_CLOCK, Clock

Line = TypeVar("Line")

LIMIT: Final = 10_000  # lines that may wait
BATCH: Final = 500  # lines written at once
LINGER_S: Final = 0.004  # a burst wakes the writer once, not once a line
TURN: Final = 4  # lines rendered in one go; about 0.2 ms
BREATH_S: Final = 0.000_05
REPORT_S: Final = 1.0  # between two reports of dropped lines


class _Marker:
    """Stands in the queue: what came before it has been written once `passed` is set."""

    __slots__ = ("last", "passed")

    def __init__(self, last: bool) -> None:
        self.last = last
        self.passed = threading.Event()


class Writer(Generic[Line]):
    """Renders and writes lines in a thread of its own.

    *render* turns a line into text with its newline and is called in the writer's thread only;
    *report* makes the line that tells how many were dropped; *stream* is asked at each write, so
    that a replaced `sys.stderr` is found; it may be None (no stderr at all).
    """

    def __init__(
        self,
        render: Callable[[Line], str],
        report: Callable[[int], Line],
        stream: Callable[[], TextIO | None] = lambda: sys.stderr,
        *,
        limit: int = LIMIT,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.dropped = 0  # lines that found the queue full
        self.lost = 0  # lines the stream did not take
        self._render = render
        self._report = report
        self._stream = stream
        self._limit = limit
        self._clock = clock
        self._closed = False
        self._told = 0
        self._told_at = -REPORT_S
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()  # of Line and _Marker
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    def put(self, line: Line) -> None:
        """Take *line* over; never waits, never raises. Drops it when the queue is full."""
        if self._closed:
            self._write_here(line)
            return
        queue = self._queue
        if queue.qsize() >= self._limit:
            self.dropped += 1
            return
        queue.put(line)
        if self._thread is None:
            self._start()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything handed over so far is written; False when *timeout* seconds passed."""
        return self._pass(_Marker(last=False), timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Write what waits and end the thread; False when it did not end within *timeout* seconds."""
        if self._closed:
            return True
        self._closed = True
        return self._pass(_Marker(last=True), timeout)

    def _pass(self, marker: _Marker, timeout: float) -> bool:
        if self._thread is None and self._queue.empty():
            return True
        if self._thread is threading.current_thread():
            return False
        self._queue.put(marker)
        if self._thread is None:
            self._start()
        return marker.passed.wait(timeout)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="holdfast-log", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter is ending: write it ourselves
                self._thread = None
                self._round(self._waiting([]))

    def _run(self) -> None:
        last = False
        try:
            while not last:
                last = self._round(self._collect())
        finally:
            self._thread = None  # should it ever die, the next line starts another

    def _collect(self) -> list[Any]:
        """The next batch: waits for its first line, then a moment for those that come with it."""
        try:
            first = self._queue.get(timeout=None if self.dropped == self._told else REPORT_S)
        except Empty:
            return []
        if not isinstance(first, _Marker):
            time.sleep(LINGER_S)
        return self._waiting([first])

    def _waiting(self, batch: list[Any]) -> list[Any]:
        try:
            while len(batch) < BATCH:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch

    def _round(self, batch: list[Any]) -> bool:
        """Write one batch; True when it held the last line."""
        texts: list[str] = []
        last = False
        for one in batch:
            if not isinstance(one, _Marker):
                texts.append(self._rendered(one))
                if len(texts) % TURN == 0:
                    self._let_others_run()
                continue
            self._emit(texts, final=True)
            texts = []
            one.passed.set()
            last = last or one.last
        self._emit(texts, final=False)
        return last

    def _let_others_run(self) -> None:
        """Give the interpreter's lock away for a moment, unless lines are about to be dropped.

        A thread that wants the lock waits 5 ms for one that never sleeps: the server's loop would, at
        each of its system calls (p99 of a busy loop: 4 ms without this, about 0.5 ms with it).
        """
        if self._queue.qsize() < self._limit // 2:
            time.sleep(BREATH_S)

    def _emit(self, texts: list[str], *, final: bool) -> None:
        dropped, now = self.dropped, self._clock.monotonic()
        if dropped != self._told and (final or now >= self._told_at + REPORT_S):
            texts.append(self._rendered(self._report(dropped - self._told)))
            self._told, self._told_at = dropped, now
        if texts and not write("".join(texts), self._stream()):
            self.lost += len(texts)

    def _rendered(self, line: Line) -> str:
        try:
            return self._render(line)
        except Exception as error:  # noqa: BLE001 - one odd value must not end all logging
            return f"holdfast: a log line could not be rendered: {type(error).__name__}\n"

    def _write_here(self, line: Line) -> None:
        with self._lock:
            self._emit([self._rendered(line)], final=True)


def write(text: str, stream: TextIO | None) -> bool:
    """Write *text*, all of it; False when the stream is closed, broken, full, or stands still for 1 s.

    A stream with a file descriptor is written past its buffer: a thread that stands in a buffered
    write when the interpreter ends takes the process down with a fatal error.
    """
    if stream is None:
        return False
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return _write_text(text, stream)
    try:
        stream.flush()
        return _write_bytes(text.encode("utf-8", "backslashreplace"), descriptor)
    except (OSError, ValueError):
        return False


def _write_text(text: str, stream: TextIO) -> bool:
    try:
        stream.write(text)
        stream.flush()
    except UnicodeError:
        return _write_text(text.encode("ascii", "backslashreplace").decode("ascii"), stream)
    except (OSError, ValueError):
        return False
    return True


def _write_bytes(data: bytes, descriptor: int) -> bool:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            if not select.select([], [descriptor], [], 1.0)[1]:
                return False
    return True


_ALL: weakref.WeakSet[Writer[Any]] = weakref.WeakSet()


def _begin_again() -> None:
    """In a forked child: the thread stayed behind, and the lines in the queue are the parent's."""
    for writer in list(_ALL):
        writer._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
