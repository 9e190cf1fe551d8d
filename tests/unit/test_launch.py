"""`holdfast run` as a process: its phases, its signals, its exit status (BOOT-1, BOOT-5, SHD-1, SHD-2)."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from holdfast.drill.ports import quiet_port

pytestmark = pytest.mark.slow
WITHIN = 20.0
APP = """
import asyncio
import threading
import time
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

@asynccontextmanager
async def lifespan(app):
    print("app starts", flush=True)
    yield {"pool": "warm"}
    print("app stops", flush=True)

app = FastAPI(lifespan=lifespan)

@app.get("/pool")
async def pool(request: Request):
    return request.state.pool

@app.get("/stream")
async def stream():
    async def ticks():
        while True:
            yield "tick"
            await asyncio.sleep(0.05)
    return StreamingResponse(ticks())

@app.get("/quiet")
async def quiet():
    async def nothing():
        yield "begun"
        await asyncio.Event().wait()
    return StreamingResponse(nothing())

@app.get("/slow")
async def slow():
    print("slow begins", flush=True)
    await asyncio.sleep(0.5)
    return "done"

@app.get("/stubborn")
async def stubborn():
    print("stubborn begins", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@app.get("/haunt")
async def haunt():
    app.state.ghost = asyncio.create_task(stubborn(), name="poltergeist")

@app.get("/job/{kind}")
async def job(kind: str, seconds: float):
    if kind == "executor":
        asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)
    else:
        threading.Thread(target=time.sleep, args=[seconds], name="poller").start()
"""


class Run:
    """One process, what it has printed, and where it listens."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process, self.log, self.port = process, log, port

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    def until(self, words: str) -> None:
        give_up_at = time.monotonic() + WITHIN
        while words not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < give_up_at, self.output
            time.sleep(0.02)

    def ask(self, path: str) -> socket.socket:
        """A request whose answer has not been read yet."""
        asking = socket.create_connection(("127.0.0.1", self.port), timeout=WITHIN)
        asking.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return asking

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=WITHIN) as answer:
            return json.load(answer)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        began = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(WITHIN)
        return status, time.monotonic() - began


@contextmanager
def run(
    folder: Path,
    *,
    ready: bool = True,
    app: str = APP,
    target: str = "shop:app",
    options: Sequence[str] = (),
    terminal: int | None = None,
    **environment: str,
) -> Iterator[Run]:
    (folder / "shop.py").write_text(app)
    log, port = folder / "output", quiet_port()
    mine = ("HOLDFAST_", "DATABASE_", "DB_", "APP_ENV", "PORT", "HOST", "LOG_", "NOTIFY_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "holdfast"), "run", target, "--port", str(port), *options],
            env={**clean, "LOG_FORMAT": "json", **environment},
            cwd=folder,
            stdout=output if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            start_new_session=terminal is None,
            preexec_fn=None if terminal is None else partial(os.login_tty, terminal),
        )
    one = Run(process, log, port)
    try:
        if ready and terminal is None:
            one.until("ready: http://")
        yield one
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_phases_in_strict_order_and_a_line_with_the_address(tmp_path: Path) -> None:
    """BOOT-1, BOOT-5."""
    with run(tmp_path) as one:
        phases = [line["phase"] for line in one.lines if line["event"] == "phase_finished"]

        assert [name for name in phases if name != "startup"] == [
            "filesystem",
            "environment",
            "port",
            "databases",
            "application",
            "routes and error handlers",
            "listen",
        ]
        assert all("duration_ms" in line for line in one.lines if line["event"] == "phase_finished")
        assert f"ready: http://127.0.0.1:{one.port}" in one.output
        assert one.get("/pool") == "warm"  # what its lifespan left
        assert one.get("/_holdfast/api/health")["ok"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """SHD-1: requests in flight finish, the application's shutdown runs, exit 0."""
    with run(tmp_path) as one, one.ask("/slow") as asking:
        one.until("slow begins")
        status, took = one.stop(number)

        assert b"done" in whole(asking)
        steps = [line["step"] for line in one.lines if line["event"] == "stop_step"]
        assert steps == ["drain", "refuse", "hang up", "answer", "cancel", "close"]
        assert "app stops" in one.output
        assert status == 0
        assert took < 3


BLOCKED = """
import os

@app.get("/block")
async def block():
    print("block begins", flush=True)
    while not os.path.exists("go on"):
        time.sleep(0.01)
"""


def test_who_has_connected_by_the_stop_is_served(tmp_path: Path) -> None:
    """SHD-1: the loop was too busy to let them in; uvloop takes one a turn, and all others were reset."""
    with run(tmp_path, app=APP + BLOCKED) as one, ExitStack() as stack:
        stack.enter_context(one.ask("/block"))
        one.until("block begins")
        one.process.send_signal(signal.SIGTERM)
        one.until("SIGTERM: stopping")
        asking = [stack.enter_context(one.ask("/pool")) for _ in range(20)]
        (tmp_path / "go on").touch()

        assert {each.recv(65536)[:12] for each in asking} == {b"HTTP/1.1 200"}, one.output
        assert one.process.wait(WITHIN) == 0


@pytest.mark.parametrize("path", ["/stream", "/quiet"])
def test_an_endless_stream_does_not_hold_the_stop(tmp_path: Path, path: str) -> None:
    """SHD-1: streams are told; uvicorn alone waits for them for ever."""
    with run(tmp_path) as one, one.ask(path) as asking:
        assert asking.recv(1)
        status, took = one.stop()

        assert status == 0, one.output
        assert took < 3, one.output
        assert "Traceback" not in one.output


def test_what_hangs_is_named_and_the_status_is_one(tmp_path: Path) -> None:
    """SHD-2."""
    with run(tmp_path, HOLDFAST_SHUTDOWN_TIMEOUT_MS="1000") as one, one.ask("/stubborn"):
        one.until("stubborn begins")
        status, took = one.stop()

        assert status == 1, one.output
        assert took < 5
        assert "GET /stubborn" in one.output


def test_a_second_signal_exits_at_once(tmp_path: Path) -> None:
    """SHD-2."""
    with run(tmp_path) as one, one.ask("/stubborn"):
        one.until("stubborn begins")
        one.process.send_signal(signal.SIGTERM)
        one.until("stopping")
        status, took = one.stop()

        assert status == 128 + signal.SIGTERM
        assert took < 2


def test_a_terminal_that_closes_stops_it_in_order(tmp_path: Path) -> None:
    """SHD-1: nothing can be printed any more, and still whoever is being served gets an answer."""
    ours, theirs = os.openpty()
    with run(tmp_path, terminal=theirs) as one:
        os.close(theirs)
        read_until(ours, b"ready: http://")
        with one.ask("/slow") as asking:
            read_until(ours, b"slow begins\r\n")
            os.close(ours)

            assert b"done" in whole(asking)
        assert one.process.wait(WITHIN) == 0


def test_who_was_started_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    """What nohup does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with run(tmp_path) as one:
            one.process.send_signal(signal.SIGHUP)

            assert one.get("/pool") == "warm"
            assert one.stop()[0] == 0
            assert "SIGHUP" not in one.output
    finally:
        signal.signal(signal.SIGHUP, before)


def whole(asking: socket.socket) -> bytes:
    """All that is answered, until the connection is closed."""
    with asking.makefile("rb") as answer:
        return answer.read()


def read_until(terminal: int, words: bytes) -> None:
    """What is printed on *terminal*, until *words* have been."""
    seen = b""
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], WITHIN)
        assert ready, seen
        seen += os.read(terminal, 65536)


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    """BOOT-5: not before it listens."""
    place = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(place)
        systemd.settimeout(WITHIN)
        with run(tmp_path, ready=False, NOTIFY_SOCKET=place) as one:
            assert systemd.recv(200).startswith(b"READY=1")
            assert one.get("/pool") == "warm"
            assert one.stop()[0] == 0
            assert systemd.recv(200).startswith(b"STOPPING=1")


def test_the_probe_listener_tells_the_phase_while_it_starts(tmp_path: Path) -> None:
    """BOOT-4: live at once, started only when everything is up."""
    port = quiet_port()
    absent = f"postgresql+asyncpg://app@127.0.0.1:{quiet_port()}/shop"
    settings = {
        "HOLDFAST_PROBE_PORT": str(port),
        "DATABASE_URL": absent,
        "HOLDFAST_CONNECT_ATTEMPTS": "1000",
    }
    with run(tmp_path, ready=False, **settings) as one:
        one.until("connect_attempted")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            assert answer.status == 200
        with socket.create_connection(("127.0.0.1", port), timeout=5) as asking:
            asking.sendall(b"GET /startupz HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: asking.recv(4096), b""))

        assert text.startswith(b"HTTP/1.0 503")
        assert b'"phase": "databases"' in text
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", one.port), timeout=1)


def test_the_command_line_imports_nothing_it_is_not_asked_for() -> None:
    """PRF-6: `holdfast --help` stays quick."""
    look = (
        "import sys; from holdfast.cli import main; "
        "heavy = {'uvicorn', 'sqlalchemy', 'starlette', 'fastapi', 'pydantic', 'structlog', 'psutil'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[]"


def test_a_background_task_that_will_not_end_does_not_keep_the_process(tmp_path: Path) -> None:
    """SHD-2: an application's own loop that swallows its cancellation is named, and left behind."""
    with run(tmp_path) as one:
        assert one.get("/haunt") is None
        status, took = one.stop()

        assert status == 1, one.output
        assert took < 5
        assert "poltergeist" in one.output


@pytest.mark.parametrize(("kind", "name"), [("executor", r"(asyncio|uvloop)_0"), ("thread", "poller")])
def test_a_thread_that_works_on_is_named_and_does_not_keep_the_process(
    tmp_path: Path, kind: str, name: str
) -> None:
    """SHD-2: the interpreter alone joins it, however long that takes."""
    with run(tmp_path, HOLDFAST_SHUTDOWN_TIMEOUT_MS="1000") as one:
        assert one.get(f"/job/{kind}?seconds=60") is None
        status, took = one.stop()

        assert status == 1, one.output
        assert took < 5
        (told,) = (line for line in one.lines if line["event"] == "left with work still going on")
        assert re.fullmatch(name, " ".join(told["threads"])), told


@pytest.mark.parametrize("kind", ["executor", "thread"])
def test_a_thread_that_ends_in_time_is_waited_for(tmp_path: Path, kind: str) -> None:
    with run(tmp_path) as one:
        assert one.get(f"/job/{kind}?seconds=0.5") is None
        status, took = one.stop()

        assert status == 0, one.output
        assert took < 5
        assert "left with work" not in one.output
