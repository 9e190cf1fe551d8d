"""The shop as a process of its own, under `holdfast run`, ended in order and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from holdfast.demo.asking import ask
from holdfast.drill.afterlife import Afterlife

TARGET = "holdfast.demo.shop:app"
_ENDS_WITHIN = 2.0  # seconds; then it is killed, and Ctrl-C is through within three
_POLL = 0.03
# What would configure the shop by accident: the demo shows holdfast as it comes.
_NOT_OURS = ("HOLDFAST_", "DATABASE_", "DB_", "LOG_", "RETRY_", "MAX_RETRY_", "REQUEST_TIMEOUT_")
_NOT_OURS_EITHER = frozenset({"APP_ENV", "HOST", "PORT", "CLIENT_URL", "UPLOAD_DIR", "NOTIFY_SOCKET"})


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Our environment without what configures applications, and with *own*."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_OURS) and name not in _NOT_OURS_EITHER
    }
    return {**clean, **own}


@asynccontextmanager
async def shop(port: int, own: Mapping[str, str], folder: Path) -> AsyncIterator[Process]:
    """The shop's process on *port*, in *folder*; ended at the end of the block, by force if need be."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast", "run", TARGET, "--port", str(port)),
        env=environment(own),
        cwd=folder,
        stdin=DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal reaches us, and we stop it in order
    )
    afterlife = Afterlife('kill -s KILL -- "-$1"', str(process.pid))
    try:
        yield process
    finally:
        await _end(process)
        afterlife.farewell()


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDS_WITHIN)
    except TimeoutError:
        print(f"The shop did not end within {_ENDS_WITHIN:.0f} s and was killed.", file=sys.stderr)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def answering(port: int) -> None:
    """Return when the shop on *port* is ready; wait as long as that takes."""
    while True:
        with suppress(OSError):  # it does not listen yet
            if (await ask(port, "GET", "/_holdfast/readyz")).status == 200:
                return
        await asyncio.sleep(_POLL)
