"""Ending those who hold a port: asked first, and made to when they do not listen.

Only what was shown is ended: another process that has the number of one by now is let alone, and so is
one that has given the port back and still does its work.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

from holdfast.runtime.holders import Held, Holder, eldest, listens, process_of

if TYPE_CHECKING:
    import psutil

PATIENCE_S = 5.0
_LOOK_S = 0.05
_DYING_S = 2.0  # a process that was killed is gone as soon as the system comes to it

Tell = Callable[[str], object]


def end(shown: Held, patience: float, tell: Tell) -> bool:
    """End those who hold the port, each within *patience* seconds or by force; whether none of them does now.

    Of those that share it the eldest is asked, and ends the others; an orphan is asked as well.
    Raises PermissionError, before anything is done, when one of them belongs to another user.
    """
    if shown.hidden or not all(one.mine for one in shown.holders):
        raise PermissionError("a process of another user is not ended")
    _ask(shown, patience, tell)
    for holder, process in _left(shown):
        if _signalled(process.kill):
            tell(f"killed process {holder.pid}, which did not end within {patience:g} s")
    until = monotonic() + _DYING_S
    while _left(shown) and monotonic() < until:
        sleep(_LOOK_S)
    return not _left(shown)


def _ask(shown: Held, patience: float, tell: Tell) -> None:
    asked: set[int] = set()
    until = monotonic() + patience
    while (left := _left(shown)) and monotonic() < until:
        begun = {one.pid for one in eldest(holder for holder, _ in left)} - asked
        for holder, process in left:
            if holder.pid in begun and _signalled(process.terminate):
                tell(f"asked process {holder.pid} to end")
                until = monotonic() + patience
        asked |= begun
        sleep(_LOOK_S)


def _left(shown: Held) -> list[tuple[Holder, psutil.Process]]:
    """Those who still hold the port."""
    found = [(holder, process_of(holder)) for holder in shown.holders]
    return [(holder, one) for holder, one in found if one is not None and listens(one, shown.port)]


def _signalled(send: Callable[[], None]) -> bool:
    import psutil

    try:
        send()  # psutil looks once more whether the number is still the same process's
    except psutil.NoSuchProcess:
        return False
    return True
