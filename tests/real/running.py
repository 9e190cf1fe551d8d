"""An unmodified shop as a process of its own, under `holdfast run` or bare uvicorn, on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.drill.afterlife import Afterlife
from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL

SHOPS = Path(__file__).parent / "shops"
_READY_WITHIN = 20.0
_STOP_WITHIN = 15.0


@dataclass(frozen=True, slots=True)
class Shop:
    """An application that has never heard of holdfast."""

    name: str
    target: str
    driver: str
    factory: bool = False

    def environment(self, server: PostgreSQL, port: int | None = None) -> dict[str, str]:
        """The variables this shop reads; *port* is a proxy's, when there is one."""
        if self.name != "sync":
            return {"DATABASE_URL": server.url(self.driver, port=port)}
        return {
            "POSTGRES_SERVER": server.host,
            "POSTGRES_PORT": str(port or server.port),
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": server.options.password or "",
            "POSTGRES_DB": "postgres",
        }


ASYNCPG = Shop("asyncpg", "asyncpg_shop:app", "asyncpg")
PSYCOPG = Shop("psycopg", "psycopg_shop:app", "psycopg")
SYNC = Shop("sync", "sync_shop:app", "psycopg")
LITESTAR = Shop("litestar", "litestar_shop:create_app", "asyncpg", factory=True)
LATE = Shop("late", "late_shop:app", "asyncpg")  # saves after it has answered
EVERY_SHOP = (ASYNCPG, PSYCOPG, SYNC, LITESTAR)


class Running:
    """A server process; `output` is what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log
        self.url = f"http://127.0.0.1:{port}"
        self._kept: str | None = None

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._kept is None else self._kept

    def keep_output(self) -> None:
        """Remember what was printed: the file is about to go."""
        self._kept = self.output

    def await_ready(self, within: float = _READY_WITHIN) -> None:
        """Return when `/health` is answered, with whatever status: a bare shop has none."""
        give_up_at = time.monotonic() + within
        while time.monotonic() < give_up_at and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1).close()
            except urllib.error.HTTPError as answer:
                answer.close()
                return
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"not ready (exit status {self.process.poll()}), it printed:\n{self.output}")

    def await_port(self, within: float = _READY_WITHIN) -> None:
        """Return when the port accepts connections."""
        give_up_at = time.monotonic() + within
        while time.monotonic() < give_up_at and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"no port (exit status {self.process.poll()}), it printed:\n{self.output}")

    def stop(self, within: float = _STOP_WITHIN) -> tuple[int, float]:
        """SIGTERM; returns the exit status and how many seconds it took."""
        asked_at = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(within)
        return status, time.monotonic() - asked_at

    def confined(self) -> list[int]:
        """Its threads that may not use every core that we may; known on Linux."""
        if sys.platform != "linux":
            return []
        threads = [int(task.name) for task in Path(f"/proc/{self.process.pid}/task").iterdir()]
        return [one for one in threads if os.sched_getaffinity(one) != os.sched_getaffinity(0)]

    def whole_output(self) -> str:
        """All it has to say; stops the server, because the log is written a moment after what it tells."""
        if self.process.poll() is None:
            self.stop()
        return self.output


@contextmanager
def running(
    shop: Shop, environment: Mapping[str, str], *, bare: bool = False, ready: bool = True
) -> Iterator[Running]:
    """*shop* under holdfast, or under uvicorn when *bare*; killed at the end unless stopped before."""
    port = quiet_port()
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as folder:
        log = Path(folder, "output")
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command(shop, port, bare),
                env={**_clean_environment(), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        one = Running(process, port, log)
        afterlife = Afterlife('kill -s KILL -- "-$1"', str(process.pid))
        try:
            if ready:
                one.await_ready()
            yield one
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            afterlife.farewell()
            one.keep_output()


def _command(shop: Shop, port: int, bare: bool) -> list[str]:
    start = (
        [sys.executable, "-m", "uvicorn"] if bare else [str(Path(sys.executable).parent / "holdfast"), "run"]
    )
    options = ["--app-dir", str(SHOPS), "--port", str(port)]
    return [*start, shop.target, *options, *(["--factory"] if shop.factory else [])]


def _clean_environment() -> dict[str, str]:
    """Ours without what would configure the shop by accident."""
    mine = ("HOLDFAST_", "POSTGRES_", "DATABASE_", "DB_", "APP_ENV", "PORT", "HOST", "LOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(mine)}
