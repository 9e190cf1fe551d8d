"""What every real server has in common: one process on a free port, its folder, and their end.

The owner of the server process is its `ServerProcess`; at the end of the `with` block, or at the
latest when the interpreter ends, even by SIGKILL, the process and its folder are gone.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.ports import quiet_port
from holdfast.drill.proxy import Proxy

POLL = 0.01
STOP_WITHIN = 30.0
_START_WITHIN = 30.0


class ServerError(RuntimeError):
    """A real server did not start, did not stop, or refused a statement."""


class ServerProcess(ABC):
    """One server on a free port of 127.0.0.1; a context manager that starts and cleans up."""

    name: str
    host = "127.0.0.1"

    def __init__(self) -> None:
        self.port = 0  # known once started; stays the same for good
        self.folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._afterlife: Afterlife | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        atexit.register(self.close)
        try:
            self.folder, self._afterlife = self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────

    def start(self, wait: bool = True) -> None:
        """Start the server; with *wait* return when it accepts connections.

        Raises ServerError, with the end of the server's log, when it ends or is not ready within 30 s.
        """
        if self.running:
            raise ServerError(f"{self.name} on port {self.port} runs already (process {self.pid})")
        first = self.port == 0
        for _ in range(5 if first else 1):
            self.port = quiet_port(self.host) if first else self.port
            self._process = self._spawn()
            if not wait and not first:
                return
            if self._await_ready():
                return
        raise ServerError(
            f"{self.name} did not start on port {self.port}; its log ends:\n{self.log()[-2000:]}"
        )

    def kill(self) -> None:
        """SIGKILL the server with all its processes, and wait until they are gone."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connects succeed, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server run on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server for good and remove its folder; safe to call twice."""
        if os.getpid() != self._owner:
            return  # a forked child inherits this object, not the server
        atexit.unregister(self.close)
        self.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
        if self._afterlife is not None:
            self._afterlife.farewell()
            self._afterlife = None

    # ── what it tells ────────────────────────────────────────────────────────────────────────

    @property
    def running(self) -> bool:
        """Whether its process lives (paused counts)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server."""
        return None if self._process is None else self._process.pid

    @abstractmethod
    def accepts_connections(self) -> bool:
        """Whether the server would let a client in right now; asks once, within a second."""

    def log(self) -> str:
        """What the server has logged since it was first started."""
        path = None if self.folder is None else self.folder / "server.log"
        return path.read_text(errors="replace") if path and path.exists() else ""

    def proxied(self) -> Proxy:
        """A fault proxy in front of this server, to be entered with `with` or `async with`."""
        return Proxy(self.host, self.port)

    # ── for the servers ──────────────────────────────────────────────────────────────────────

    @abstractmethod
    def _prepare(self) -> tuple[Path, Afterlife]:
        """A folder for it, and what removes both if we are killed."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The program and its arguments."""

    def _popen(self) -> dict[str, Any]:
        """What else its process is started with."""
        return {}

    def _signal(self, number: signal.Signals) -> None:
        """Signal all its processes; one that has ended is fine."""
        if self._process is not None:
            self._process.send_signal(number)

    def _stop(self, number: signal.Signals, how: str = "") -> None:
        """Ask it to end and wait for that; stopped already is fine."""
        if self._process is None:
            return
        self.resume()  # a frozen server would not see the signal
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise ServerError(f"{self.name} did not stop within {STOP_WITHIN:.0f} s{how}") from None
        self._process = None

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert self.folder is not None, f"enter the server first: with {type(self).__name__}() as server"
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C in a terminal reaches us, and we stop it in order
                **self._popen(),
            )

    def _await_ready(self) -> bool:
        give_up_at = time.monotonic() + _START_WITHIN
        while self.running and time.monotonic() < give_up_at:
            if self.accepts_connections():
                return True
            time.sleep(POLL)
        self.kill()
        return False
