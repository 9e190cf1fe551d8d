"""An application as a process of its own, under `holdfast run` or plain uvicorn, with the same options."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.ports import quiet_port

Under = Literal["holdfast", "uvicorn"]
APPLICATIONS = Path(__file__).parent / "applications"
READY_WITHIN = 20.0
STOP_WITHIN = 15.0
_OURS = ("HOLDFAST_", "POSTGRES_", "DATABASE_", "DB_", "APP_ENV", "PORT", "HOST", "LOG_", "SHOP_")
_UVICORN = (
    "-m", "uvicorn", "--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools",
)  # fmt: skip


class Served:
    """One server process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log
        self.started_at = time.time()
        self._seen = psutil.Process(process.pid)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def cpu(self) -> float:
        """Seconds of processor time it has used."""
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Bytes of memory it has resident."""
        return int(self._seen.memory_info().rss)

    def await_port(self) -> None:
        """Return when it accepts connections. Raises RuntimeError, with its output, when it does not."""
        give_up_at = time.monotonic() + READY_WITHIN
        while time.monotonic() < give_up_at and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise RuntimeError(f"no server (exit status {self.process.poll()}), it printed:\n{self.output}")

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to end. Raises TimeoutExpired after 15 s."""
        asked_at = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_WITHIN)
        return time.monotonic() - asked_at


@contextmanager
def serving(
    target: str, under: Under, environment: Mapping[str, str] | None = None, *, wait: bool = True
) -> Iterator[Served]:
    """*target* of `applications/` on a free port; ended when the block is left, whatever happens."""
    port = quiet_port()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        log = Path(folder, "output")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(target, under, port),
                env={**_clean_environment(), **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        afterlife = Afterlife('kill -s KILL -- "-$1"', str(process.pid))
        try:
            served = Served(process, port, log)
            if wait:
                served.await_port()
            yield served
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            afterlife.farewell()


def _command(target: str, under: Under, port: int) -> list[str]:
    start = [str(Path(sys.executable).parent / "holdfast"), "run"]
    if under == "uvicorn":
        start = [sys.executable, *_UVICORN]
    return [*start, target, "--app-dir", str(APPLICATIONS), "--port", str(port)]


def _clean_environment() -> dict[str, str]:
    """Ours without what would configure an application by accident."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
