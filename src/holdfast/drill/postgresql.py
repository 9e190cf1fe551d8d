"""A real PostgreSQL, from a wheel: started in a temporary folder, hurt on command, cleaned up.

The owner of the server process is the `PostgreSQL` object; at the end of the `with` block, or at
the latest when the interpreter ends, even by SIGKILL, the process and its folder are gone.
PostgreSQL refuses to run as root, so root hands the processes and their folder to another user.
"""

from __future__ import annotations

import csv
import io
import os
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import psutil

from holdfast.drill.afterlife import Afterlife, after_postgresql
from holdfast.drill.postgresql_files import Account, Programs, data_folder, find_programs, service_account
from holdfast.drill.process import POLL, STOP_WITHIN, ServerError, ServerProcess

Mode = Literal["smart", "fast", "immediate"]
_SIGNALS: dict[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_SUPERUSER = "postgres"


@dataclass(frozen=True, slots=True)
class Options:
    """How the server is set up.

    `durable` keeps fsync on; without it a crash of the server loses nothing (the kernel has the
    pages), only a crash of the machine would. `password` switches from trust to scram.
    """

    password: str | None = None
    max_connections: int = 100
    durable: bool = False


class PostgreSQL(ServerProcess):
    """One PostgreSQL on a free port of 127.0.0.1; a context manager that starts and cleans up."""

    name = "postgresql"

    def __init__(self, options: Options = Options()) -> None:
        super().__init__()
        self.options = options
        self._programs: Programs = find_programs()
        self._account: Account = service_account()

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server as `pg_ctl stop -m mode` does and wait for its end; stopped already is fine.

        Raises ServerError when it is still there after 30 s (`smart` waits for clients to leave).
        """
        self._stop(_SIGNALS[mode], f" (-m {mode})")

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server, start it on the same port and data, and wait until it accepts connections."""
        self.stop(mode)
        self.start()

    # ── what it tells ────────────────────────────────────────────────────────────────────────

    def url(
        self,
        driver: str | None = "asyncpg",
        database: str = "postgres",
        user: str = _SUPERUSER,
        password: str | None = None,
        port: int | None = None,
    ) -> str:
        """SQLAlchemy URL; without *driver* the plain `postgresql://`; *port* names a proxy's."""
        scheme = "postgresql" if driver is None else f"postgresql+{driver}"
        password = self.options.password if password is None and user == _SUPERUSER else password
        login = (
            quote(user, safe="") if password is None else f"{quote(user, safe='')}:{quote(password, safe='')}"
        )
        return f"{scheme}://{login}@{self.host}:{port or self.port}/{quote(database, safe='')}"

    def accepts_connections(self) -> bool:
        """Whether the server would let a client in right now; asks once, within a second."""
        wanted = struct.pack("!i", 196_608) + f"user\0{_SUPERUSER}\0database\0postgres\0\0".encode()
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as asking:
                asking.sendall(struct.pack("!i", len(wanted) + 4) + wanted)
                return asking.recv(1) == b"R"  # an authentication request; "E" while it starts or stops
        except OSError:
            return False

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[str, ...]]:
        """Run *sql* as superuser past any proxy; rows come as text. Raises ServerError with the message."""
        command = [str(self._programs.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "--csv", "-t"]
        target = ["-h", self.host, "-p", str(self.port), "-U", _SUPERUSER, "-d", database]
        environment = {**os.environ, "PGPASSWORD": self.options.password or ""}
        done = subprocess.run(
            [*command, *target, "-c", sql], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerError(f"postgresql refused a statement: {done.stderr.strip()}")
        return [tuple(row) for row in csv.reader(io.StringIO(done.stdout))]

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _prepare(self) -> tuple[Path, Afterlife]:
        folder = data_folder(self._programs, self._account, self.options.password)
        return folder, after_postgresql(str(folder))

    def _popen(self) -> dict[str, Any]:
        return self._account.popen()

    def _command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": self.host,
            "unix_socket_directories": "",
            "max_connections": self.options.max_connections,
            "shared_buffers": "32MB",
        }
        if not self.options.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs.bin / "postgres"), "-D", f"{self.folder}/data", *flags]

    def _signal(self, number: signal.Signals) -> None:
        """Signal postmaster and children; the postmaster is frozen first, so that it forks no more."""
        if self._process is None or self._process.poll() is not None:
            return
        postmaster = psutil.Process(self._process.pid)
        if number is not signal.SIGCONT:
            postmaster.suspend()
        children = postmaster.children(recursive=True)
        for process in (*children, postmaster):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue  # a backend that had ended by itself
        if number is signal.SIGKILL:
            _await_end(children)


def _await_end(processes: list[Any]) -> None:
    """Return when all are gone or zombies: a start refuses while a backend holds the shared memory."""
    give_up_at = time.monotonic() + STOP_WITHIN
    while any(_alive(process) for process in processes):
        if time.monotonic() > give_up_at:
            raise ServerError(f"backends of postgresql survive SIGKILL: {[one.pid for one in processes]}")
        time.sleep(POLL)


def _alive(process: Any) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
