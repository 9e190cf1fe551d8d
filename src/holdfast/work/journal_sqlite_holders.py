"""Whether the holder of a lease is gone: known at once on its own host, by process and start time."""

from __future__ import annotations

import psutil

from holdfast.work.entry import Holder

TOLERANCE_S = 2.0  # the start time is told against the boot's, which moves when the clock is set


def is_gone(holder: Holder, asking: Holder) -> bool:
    """Whether *holder*'s process has ended, as far as *asking*, a worker of this process, can know.

    Of another host nothing is known: its lease has to run out.
    """
    if holder == asking or holder.host != asking.host:
        return False
    if holder.pid == asking.pid:
        return holder.incarnation != asking.incarnation
    try:
        process = psutil.Process(holder.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(abs(process.create_time() - holder.started_at) > TOLERANCE_S)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
