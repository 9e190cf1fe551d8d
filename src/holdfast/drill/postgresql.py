"""A real PostgreSQL, from a wheel: started in a temporary folder, hurt on command, cleaned up.

The owner of the server process is the `PostgreSQL` object; at the end of the `with` block, or at
the latest when the interpreter ends, even by SIGKILL, the process and its folder are gone.
PostgreSQL refuses to run as root, so root hands the processes and their folder to another user.
"""

from __future__ import annotations

import atexit
import csv
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import psutil

from holdfast.drill.afterlife import Afterlife, after_postgresql
from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql_files import Account, Programs, data_folder, find_programs, service_account
from holdfast.drill.proxy import Proxy

Mode = Literal["smart", "fast", "immediate"]
_SIGNALS: dict[Mode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_SUPERUSER = "postgres"
_START_WITHIN = 30.0
_STOP_WITHIN = 30.0
_POLL = 0.01


class ServerError(RuntimeError):
    """A real server did not start, did not stop, or refused a statement."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the server is set up.

    `durable` keeps fsync on; without it a crash of the server loses nothing (the kernel has the
    pages), only a crash of the machine would. `password` switches from trust to scram.
    """

    password: str | None = None
    max_connections: int = 100
    durable: bool = False


class PostgreSQL:
    """One server on a free port of 127.0.0.1; a context manager that starts and cleans up."""

    name = "postgresql"
    host = "127.0.0.1"

    def __init__(self, options: Options = Options()) -> None:
        self.options = options
        self.port = 0  # known once started; stays the same for good
        self.folder: Path | None = None
        self._programs: Programs = find_programs()
        self._account: Account = service_account()
        self._process: subprocess.Popen[bytes] | None = None
        self._afterlife: Afterlife | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        atexit.register(self.close)
        try:
            self.folder = data_folder(self._programs, self._account, self.options.password)
            self._afterlife = after_postgresql(str(self.folder))
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
            raise ServerError(f"postgresql on port {self.port} runs already (process {self.pid})")
        first = self.port == 0
        for _ in range(5 if first else 1):
            self.port = quiet_port() if first else self.port
            self._process = self._spawn()
            if not wait and not first:
                return
            if self._await_ready():
                return
        raise ServerError(
            f"postgresql did not start on port {self.port}; its log ends:\n{self.log()[-2000:]}"
        )

    def stop(self, mode: Mode = "fast") -> None:
        """Stop the server as `pg_ctl stop -m mode` does and wait for its end; stopped already is fine.

        Raises ServerError when it is still there after 30 s (`smart` waits for clients to leave).
        """
        if self._process is None:
            return
        self.resume()  # a frozen postmaster would not see the signal
        self._process.send_signal(_SIGNALS[mode])
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise ServerError(f"postgresql did not stop within {_STOP_WITHIN:.0f} s (-m {mode})") from None
        self._process = None

    def restart(self, mode: Mode = "fast") -> None:
        """Stop the server, start it on the same port and data, and wait until it accepts connections."""
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL the postmaster and every backend, and wait until they are gone."""
        if self._process is None:
            return
        self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze postmaster and backends (SIGSTOP): connects succeed, nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server run on."""
        self._signal_all(signal.SIGCONT)

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
        """Whether the postmaster lives (paused counts)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster."""
        return None if self._process is None else self._process.pid

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

    def log(self) -> str:
        """What the server has logged since it was first started."""
        path = None if self.folder is None else self.folder / "server.log"
        return path.read_text(errors="replace") if path and path.exists() else ""

    def proxied(self) -> Proxy:
        """A fault proxy in front of this server, to be entered with `with` or `async with`."""
        return Proxy(self.host, self.port)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert self.folder is not None, "enter the server first: with PostgreSQL() as server"
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
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [self._programs.bin / "postgres", "-D", self.folder / "data", *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C in a terminal reaches us, and we stop it in order
                **self._account.popen(),
            )

    def _await_ready(self) -> bool:
        give_up_at = time.monotonic() + _START_WITHIN
        while self.running and time.monotonic() < give_up_at:
            if self.accepts_connections():
                return True
            time.sleep(_POLL)
        self.kill()
        return False

    def _signal_all(self, number: signal.Signals) -> None:
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
    give_up_at = time.monotonic() + _STOP_WITHIN
    while any(_alive(process) for process in processes):
        if time.monotonic() > give_up_at:
            raise ServerError(f"backends of postgresql survive SIGKILL: {[one.pid for one in processes]}")
        time.sleep(_POLL)


def _alive(process: Any) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
