"""SIGINT, SIGTERM and a terminal that closes (SIGHUP), heard even while the loop is blocked.

A loop's own signal handlers are callbacks: none runs during a slow import, or while the application
computes or sleeps on the loop. Python's handlers do run there, and do here the one thing that is safe
in the middle of anything: they put the signal in a queue, which a thread of ours reads.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType

Heard = Callable[[signal.Signals], None]


class Signals:
    """Calls *first* with the first signal and *again* with every further one, in a thread of its own.

    A SIGHUP is never a further one: shell and kernel both send it when a terminal closes. Whoever
    started us to outlive their terminal (nohup) had it ignored, and so it stays.
    """

    def __init__(self, first: Heard, again: Heard) -> None:
        self._first = first
        self._again = again
        self._came: SimpleQueue[int] = SimpleQueue()

    def install(self) -> None:
        """Hear them from now on, to the end of the process. Only the main thread may do this."""
        threading.Thread(target=self._listen, name="holdfast-signals", daemon=True).start()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._note) for number in numbers}

        def undo() -> None:
            for number, handler in before.items():
                if signal.getsignal(number) == self._note:
                    signal.signal(number, handler)

        os.register_at_fork(after_in_child=undo)  # our thread is not there, and the stop is not the child's

    def _note(self, number: int, _: FrameType | None) -> None:
        self._came.put(number)

    def _listen(self) -> None:
        self._first(signal.Signals(self._came.get()))
        while True:
            number = self._came.get()
            if number != signal.SIGHUP:
                self._again(signal.Signals(number))
