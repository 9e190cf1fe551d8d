"""Starts that cannot succeed say why, once, and leave nothing behind (BOOT-2, BOOT-6, ENV-3, PORT-1)."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from running import ASYNCPG, _clean_environment, running

from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.servers import real_server

PASSWORD = "correct-horse-battery"
WRONG = "hunter2-is-wrong"
WITHIN = 30.0
HOLDFAST = Path(sys.executable).parent / "holdfast"

HELLO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
ENGINE = """
import os
from sqlalchemy.ext.asyncio import create_async_engine
engine = create_async_engine(os.environ["DATABASE_URL"])
"""


FAILING = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import create_async_engine

engine = create_async_engine(os.environ["DATABASE_URL"])

@asynccontextmanager
async def lifespan(app):
    async with engine.connect():
        raise RuntimeError("no such table of ours")
    yield

app = FastAPI(lifespan=lifespan)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A start that ended: its status, and all that it printed."""

    status: int
    output: str

    @property
    def message(self) -> str:
        """From the message on: log lines may stand before it."""
        return self.output[self.output.index("holdfast could not start") :]


@dataclass(frozen=True, slots=True)
class Start:
    """`holdfast run` in a folder with one module, `shop.py`."""

    folder: Path

    def write(self, text: str, name: str = "shop.py") -> None:
        (self.folder / name).write_text(text)

    def run(
        self,
        target: str = "shop:app",
        environment: Mapping[str, str] | None = None,
        *options: str,
        before: Sequence[str] = (),
    ) -> Ended:
        """Run it to its end; its whole process group is gone afterwards."""
        process = subprocess.Popen(
            [*before, str(HOLDFAST), "run", target, *(options or ("--port", str(quiet_port())))],
            env={**_clean_environment(), **(environment or {})},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=WITHIN)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"it did not end; it printed:\n{output}") from None
        left = [one.pid for one in psutil.process_iter() if _group(one.pid) == process.pid]
        assert left == [], f"left running: {left}"
        return Ended(process.returncode, output)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def assert_told(ended: Ended, status: int, phase: str, *words: str) -> None:
    """One message that names the phase, the thing and the next step; no traceback, no secret."""
    assert ended.status == status, ended.output
    assert ended.output.count("holdfast could not start") == 1, ended.output
    assert ended.message.startswith(f"holdfast could not start: {phase}"), ended.output
    assert "Description:" in ended.message
    assert "Action:" in ended.message
    for word in words:
        assert word in ended.message, ended.output
    assert "Traceback" not in ended.output
    assert PASSWORD not in ended.output
    assert WRONG not in ended.output


@pytest.fixture
def start(tmp_path: Path) -> Start:
    one = Start(tmp_path)
    one.write(HELLO)
    return one


@pytest.fixture(scope="module")
def locked() -> Iterator[PostgreSQL]:
    """A PostgreSQL that asks for a password."""
    with real_server("postgresql", password=PASSWORD) as server:
        yield server


# ── environment ──────────────────────────────────────────────────────────────────────────────────


def test_everything_wrong_with_the_environment_is_told_at_once(start: Start) -> None:
    """ENV-3: a declared variable missing, a number that is none, a name that does not exist."""
    start.write("# who signs the sessions\nSESSION_SECRET=\n", ".env.example")
    environment = {"DB_POOL_MAX": "many", "HOLDFAST_MAX_WIAT_MS": "5"}

    ended = start.run("shop:app", environment)

    assert_told(ended, 78, "environment", "SESSION_SECRET", "DB_POOL_MAX", "HOLDFAST_MAX_WIAT_MS")
    assert "HOLDFAST_MAX_WAIT_MS" in ended.message


def test_a_secret_that_is_wrong_is_not_echoed(start: Start) -> None:
    ended = start.run("shop:app", {"DIAGNOSTICS_TOKEN": WRONG, "HOLDFAST_JOURNAL_URL": f"no {WRONG}"})

    assert_told(ended, 78, "environment", "DIAGNOSTICS_TOKEN", "HOLDFAST_JOURNAL_URL")


@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["plain", "debug"])
def test_no_piece_of_a_password_that_is_not_encoded_is_told(start: Start, debug: list[str]) -> None:
    """ENV-3, DB-9: SQLAlchemy takes what follows its first @ for the host and the port, and quotes it."""
    start.write(ENGINE.replace("DATABASE_URL", "SHOP_DSN") + HELLO)
    url = "postgresql+asyncpg://app:co@rrect:h0rse@127.0.0.1:5432/shop"

    ended = start.run("shop:app", {"SHOP_DSN": url}, *debug, "--port", str(quiet_port()))

    assert (ended.status, "h0rse" in ended.output) == (70, False), ended.output
    assert "shop.py:4 (importing shop): ValueError" in ended.message


# ── the database ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("user", "password", "database", "words"),
    [
        ("postgres", WRONG, "postgres", ["refused the user or the password"]),
        ("nobody_here", WRONG, "postgres", ["refused the user or the password", "CREATE ROLE"]),
        ("postgres", PASSWORD, "no_such_shop", ["no database of that name", "createdb", "no_such_shop"]),
    ],
    ids=["wrong password", "no such role", "no such database"],
)
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_what_waiting_does_not_cure_ends_the_start_at_once(
    start: Start, locked: PostgreSQL, driver: str, user: str, password: str, database: str, words: list[str]
) -> None:
    """BOOT-2: exit 69, the redacted URL, the cause and the cure; no second attempt."""
    start.write(ENGINE + HELLO)
    url = locked.url(driver, database=database, user=user, password=password)

    ended = start.run("shop:app", {"DATABASE_URL": url})

    assert_told(ended, 69, "databases", f"{user}:***@127.0.0.1:{locked.port}", "(1 attempt)", *words)


@pytest.mark.parametrize("app_env", ["production", "development"])
@pytest.mark.parametrize(
    ("driver", "query", "words"),
    [
        ("asyncpg", "sslmode=require", "asyncpg takes ssl=, not sslmode="),
        ("psycopg", "ssl=require", "psycopg takes sslmode=, not ssl="),
        ("asyncpg", "ssl=require", "The server offers no SSL"),
        ("psycopg", "sslmode=require", "The server offers no SSL"),
        ("asyncpg", "ssl=verify-full", "PGSSLROOTCERT"),
    ],
)
def test_wrong_ssl_settings_are_not_told_as_an_absent_database(
    start: Start, locked: PostgreSQL, driver: str, query: str, words: str, app_env: str
) -> None:
    """BOOT-2, BOOT-3: one attempt, also where a start goes on without its database."""
    start.write(ENGINE + HELLO)
    environment = {"DATABASE_URL": f"{locked.url(driver, password=PASSWORD)}?{query}", "APP_ENV": app_env}

    ended = start.run("shop:app", environment)

    assert_told(ended, 69, "databases", "(1 attempt)", words)


def test_an_engine_under_another_name_is_found_and_reached(start: Start, locked: PostgreSQL) -> None:
    """PRM-5: targets come from the engines it builds, whatever its variables are called."""
    start.write(ENGINE.replace("DATABASE_URL", "SHOP_DSN") + HELLO)
    url = locked.url("asyncpg", password=WRONG)

    ended = start.run("shop:app", {"SHOP_DSN": url})

    assert_told(ended, 69, "databases", "refused the user or the password", f"127.0.0.1:{locked.port}")


def test_an_absent_database_ends_the_start_after_the_configured_attempts(start: Start) -> None:
    """BOOT-2, BOOT-3: each attempt is told."""
    start.write(ENGINE + HELLO)
    port = quiet_port()
    environment = {
        "DATABASE_URL": f"postgresql+asyncpg://app:{WRONG}@127.0.0.1:{port}/shop",
        "HOLDFAST_CONNECT_ATTEMPTS": "3",
        "LOG_FORMAT": "json",
    }

    ended = start.run("shop:app", environment)

    assert_told(
        ended,
        69,
        "databases",
        f"app:***@127.0.0.1:{port}/shop",
        "(3 attempts)",
        "Start the database",
        "HOLDFAST_START_WITHOUT_DATABASE=true",
    )
    assert ended.output.count('"connect_attempted"') == 3, ended.output


def test_in_development_it_starts_and_holds(postgresql: PostgreSQL) -> None:
    """BOOT-2: it warns, listens, and tells the truth about itself."""
    postgresql.stop("immediate")
    environment = {**ASYNCPG.environment(postgresql), "APP_ENV": "development"}

    with running(ASYNCPG, environment, ready=False) as one:
        one.await_port()
        one.await_ready()
        with socket.create_connection(("127.0.0.1", one.port), timeout=5) as asking:
            asking.sendall(b"GET /items/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            asking.settimeout(0.5)
            with pytest.raises(TimeoutError):
                asking.recv(1)
            postgresql.start()
            asking.settimeout(10)
            assert asking.recv(12) == b"HTTP/1.1 200"

        told = one.whole_output()
        assert "starting without it, requests will wait" in told
        assert "Traceback" not in told


# ── the port ─────────────────────────────────────────────────────────────────────────────────────


def test_a_taken_port_names_its_holder(start: Start) -> None:
    """PORT-1: before the slow phases; the application is not even imported."""
    start.write("raise AssertionError('imported')")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        ended = start.run("shop:app", None, "--port", str(port))

    free = f"holdfast free-port {port}"
    assert_told(ended, 69, "port", f"Port {port}", f"process {os.getpid()}", f"kill {os.getpid()}", free)


@pytest.mark.skipif(sys.platform != "linux", reason="the right to low ports is taken away as Linux does")
def test_a_port_without_the_right_to_it(start: Start) -> None:
    """PORT-2: for any user but root, or root without the capability."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("every user may listen on port 80 here")
    without = ["setpriv", "--bounding-set=-net_bind_service", "--"] if os.geteuid() == 0 else []

    ended = start.run("shop:app", None, "--port", "80", before=without)

    assert_told(ended, 69, "port", "Port 80 is below 1024", "--port 8080")


# ── the application ──────────────────────────────────────────────────────────────────────────────


def test_a_module_that_is_not_there(start: Start) -> None:
    ended = start.run("shopp:app")

    assert ended.status in (66, 70), ended.output
    assert_told(ended, ended.status, "application", "shopp", "shop")


def test_an_application_that_is_spelt_differently(start: Start) -> None:
    ended = start.run("shop:ap")

    assert ended.status in (66, 70), ended.output
    assert_told(ended, ended.status, "application", "ap", "app")


def test_a_syntax_error_names_its_line(start: Start) -> None:
    start.write("import os\n\ndef app(:\n    pass\n")

    assert_told(start.run(), 70, "application", "shop.py:3", "SyntaxError")


def test_an_import_that_raises_names_its_line_and_no_secret(start: Start) -> None:
    start.write(f"import os\nraise RuntimeError('cannot use postgresql://app:{WRONG}@db/shop')\n")

    assert_told(start.run(), 70, "application", "shop.py:2", "RuntimeError", "--debug")


def test_a_lifespan_that_fails_says_why(start: Start) -> None:
    start.write(
        "from contextlib import asynccontextmanager\n"
        "from fastapi import FastAPI\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise RuntimeError('no licence for this shop')\n"
        "    yield\n"
        "app = FastAPI(lifespan=lifespan)\n"
    )

    assert_told(start.run(), 70, "application", "no licence for this shop", "--debug")


def test_with_debug_there_is_a_traceback(start: Start) -> None:
    """BOOT-6."""
    start.write("raise RuntimeError('odd')\n")

    ended = start.run("shop:app", None, "--debug", "--port", str(quiet_port()))

    assert ended.status == 70
    assert "Traceback" in ended.output
    assert "holdfast could not start" in ended.output


def test_a_traceback_quotes_no_secret(start: Start) -> None:
    """BOOT-6, ENV-3: a validation error prints what it was given."""
    start.write(
        "from pydantic_settings import BaseSettings\nclass Shop(BaseSettings):\n    shop_token: int\nShop()\n"
    )

    ended = start.run("shop:app", {"SHOP_TOKEN": WRONG}, "--debug", "--port", str(quiet_port()))

    assert "Traceback" in ended.output
    assert "input_value=***" in ended.output
    assert WRONG not in ended.output


def test_a_file_in_place_of_the_state_folder_is_found_in_its_phase(start: Start) -> None:
    """BOOT-1: whether or not a journal is asked for."""
    start.write(HELLO)
    start.write("", "state")

    ended = start.run("shop:app", {"HOLDFAST_STATE_DIR": "state"})

    assert_told(ended, 73, "filesystem", "HOLDFAST_STATE_DIR=state is no folder")


def test_a_stop_in_the_middle_of_a_start_leaves_nothing(start: Start) -> None:
    """BOOT-6, SHD-1: told to stop while it still tries to reach its database."""
    start.write(ENGINE + HELLO)
    log = start.folder / "output"
    url = f"postgresql+asyncpg://app@127.0.0.1:{quiet_port()}/shop"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(HOLDFAST), "run", "shop:app", "--port", str(quiet_port())],
            env={**_clean_environment(), "DATABASE_URL": url, "HOLDFAST_CONNECT_ATTEMPTS": "1000"},
            cwd=start.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        give_up_at = time.monotonic() + WITHIN
        while "connect" not in log.read_text() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        process.terminate()
        status = process.wait(5)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    assert status == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_whoever_waited_for_a_start_that_fails_is_told(start: Start, postgresql: PostgreSQL) -> None:
    """BOOT-2, REQ-6: it listens while its database is absent, and then its application does not start."""
    start.write(FAILING)
    postgresql.stop("immediate")
    port = quiet_port()
    environment = {"DATABASE_URL": postgresql.url("asyncpg"), "HOLDFAST_START_WITHOUT_DATABASE": "true"}
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(start.run, "shop:app", environment, "--port", str(port))
        asking = threads.submit(asked, port)
        await_client(port)
        postgresql.start()
        status, body = asking.result(WITHIN)
        ended = running.result(WITHIN)

    assert (status, json.loads(body)["code"]) == (503, "shutting_down"), ended.output
    assert_told(ended, 70, "application", "no such table of ours")


def await_client(port: int) -> None:
    """Return when a client is connected to *port*."""
    give_up_at = time.monotonic() + WITHIN
    while not any(
        one.laddr and one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
        for one in psutil.net_connections("tcp4")
    ):
        assert time.monotonic() < give_up_at, "nobody came"
        time.sleep(0.02)


def asked(port: int) -> tuple[int, bytes]:
    """The answer to one GET, sent as soon as somebody listens."""
    give_up_at = time.monotonic() + WITHIN
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
        try:
            connection.request("GET", "/items")
            answer = connection.getresponse()
            return answer.status, answer.read()
        except ConnectionRefusedError:
            assert time.monotonic() < give_up_at, "nobody listens"
            time.sleep(0.02)
        finally:
            connection.close()
