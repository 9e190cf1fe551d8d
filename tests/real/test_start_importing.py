"""An application that uses its database while it is imported starts as any other (BOOT-2, BOOT-3, BOOT-6)."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import _clean_environment
from test_start_failures import HOLDFAST, WITHIN, WRONG, Start, asked, assert_told, await_client, start

from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL

__all__ = ["start"]  # a fixture

TABLES = """
import os
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

metadata = MetaData()
Table("items", metadata, Column("id", Integer, primary_key=True))
DSN = os.environ["SHOP_DSN"]
"""
HELLO = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/items")
async def items():
    return "served"
"""
SYNC = "\nengine = create_engine(DSN)\nmetadata.create_all(engine)\n"
ASYNC = """
import asyncio
engine = create_async_engine(DSN)
async def create():
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
asyncio.run(create())
"""
PATIENT = """
import time
engine = create_engine(DSN)
for attempt in range(2):
    try:
        metadata.create_all(engine)
        break
    except Exception as error:
        print("not yet", flush=True)
else:
    raise RuntimeError("gave up")
"""
CARELESS = """
engine = create_engine(DSN)
try:
    metadata.create_all(engine)
except Exception as error:
    print("going on without tables", flush=True)
"""
USES = {"psycopg": SYNC, "asyncpg": ASYNC}


class Beginning:
    """A start that goes on: what it has printed so far, and its end."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process, self._log, self.port = process, log, port

    @property
    def output(self) -> str:
        return self._log.read_text()

    def until(self, words: str) -> None:
        give_up_at = time.monotonic() + WITHIN
        while words not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < give_up_at, self.output
            time.sleep(0.02)

    def stop(self) -> tuple[int, float]:
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WITHIN), time.monotonic() - began


@contextmanager
def beginning(start: Start, environment: dict[str, str]) -> Iterator[Beginning]:
    log, port = start.folder / "output", quiet_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(HOLDFAST), "run", "shop:app", "--port", str(port)],
            env={**_clean_environment(), "LOG_FORMAT": "json", **environment},
            cwd=start.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Beginning(process, log, port)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def absent(driver: str) -> tuple[str, int]:
    """Where no database is."""
    port = quiet_port()
    return f"postgresql+{driver}://app:{WRONG}@127.0.0.1:{port}/shop", port


@pytest.mark.parametrize("driver", USES)
def test_a_database_that_stays_away_ends_the_start_as_usual(start: Start, driver: str) -> None:
    """BOOT-2, BOOT-3: so many attempts, each told, then exit 69 with the redacted URL, cause and cure."""
    start.write(TABLES + USES[driver] + HELLO)
    dsn, port = absent(driver)

    ended = start.run("shop:app", {"SHOP_DSN": dsn, "HOLDFAST_CONNECT_ATTEMPTS": "3", "LOG_FORMAT": "json"})

    target, more = f"app:***@127.0.0.1:{port}/shop", "HOLDFAST_CONNECT_ATTEMPTS=20"
    assert_told(ended, 69, "databases", target, "(3 attempts)", "Start the database", more)
    assert ended.output.count('"connect_attempted"') == 3, ended.output


@pytest.mark.parametrize("driver", USES)
def test_one_that_appears_meanwhile_is_used(start: Start, postgresql: PostgreSQL, driver: str) -> None:
    """BOOT-2, BOOT-3: the import goes on where it was."""
    start.write(TABLES + USES[driver] + HELLO)
    postgresql.stop("immediate")
    environment = {"SHOP_DSN": postgresql.url(driver), "HOLDFAST_CONNECT_ATTEMPTS": "1000"}

    with beginning(start, environment) as one:
        one.until('"connect_attempted"')
        postgresql.start()
        one.until("ready: http://")

        assert asked(one.port) == (200, b'"served"')
        assert postgresql.execute("SELECT count(*) FROM items") == [("0",)]
        assert one.stop()[0] == 0, one.output


@pytest.mark.parametrize("named", ["SHOP_DSN", "DATABASE_URL"])
def test_in_development_it_says_so_holds_requests_and_starts(
    start: Start, postgresql: PostgreSQL, named: str
) -> None:
    """BOOT-2: it warns, listens at once, and whoever asked meanwhile is answered."""
    start.write(TABLES + SYNC + HELLO)
    postgresql.stop("immediate")
    url = postgresql.url("psycopg")
    environment = {"SHOP_DSN": url, named: url, "APP_ENV": "development"}

    with beginning(start, environment) as one, ThreadPoolExecutor(1) as threads:
        one.until("while it is imported, and it is not there")
        asking = threads.submit(asked, one.port)
        await_client(one.port)
        postgresql.start()

        assert asking.result(WITHIN) == (200, b'"served"'), one.output
        assert one.stop()[0] == 0, one.output
        assert "Traceback" not in one.output


@pytest.mark.parametrize("app_env", ["development", "production"])
@pytest.mark.parametrize("driver", USES)
def test_told_to_stop_while_it_waits_it_stops_at_once(start: Start, driver: str, app_env: str) -> None:
    """BOOT-6, SHD-1: nothing was begun, so nothing has failed."""
    start.write(TABLES + USES[driver] + HELLO)
    environment = {"SHOP_DSN": absent(driver)[0], "APP_ENV": app_env, "HOLDFAST_CONNECT_ATTEMPTS": "1000"}

    with beginning(start, environment) as one:
        one.until("connect_attempted" if app_env == "production" else "while it is imported")
        status, took = one.stop()

        assert (status, took < 3) == (0, True), one.output
        assert "Traceback" not in one.output


def test_told_to_stop_while_a_login_hangs(start: Start, postgresql: PostgreSQL) -> None:
    """BOOT-6, SHD-1: a server that accepts and says nothing."""
    start.write(TABLES + SYNC + HELLO)
    postgresql.pause()
    try:
        with beginning(start, {"SHOP_DSN": postgresql.url("psycopg")}) as one:
            one.until('"phase":"databases"')
            await_client(postgresql.port)
            status, took = one.stop()
    finally:
        postgresql.resume()

    assert (status, took < 3) == (0, True), one.output


def test_a_server_that_refuses_the_login_is_not_asked_again(start: Start) -> None:
    """BOOT-2: no waiting cures a name that the server does not know."""
    from holdfast.drill.servers import real_server

    start.write(TABLES + SYNC + HELLO)
    with real_server("postgresql") as server:
        dsn = server.url("psycopg", database="no_such_shop")
        ended = start.run("shop:app", {"SHOP_DSN": dsn, "APP_ENV": "development"})

    assert_told(ended, 69, "databases", "(1 attempt)", "no database of that name", "no_such_shop")


def test_an_application_that_tries_again_itself_is_let(start: Start) -> None:
    """BOOT-2: and when it gives up without a cause of ours, the database is away all the same."""
    start.write(TABLES + PATIENT + HELLO)

    ended = start.run("shop:app", {"SHOP_DSN": absent("psycopg")[0], "HOLDFAST_CONNECT_ATTEMPTS": "2"})

    assert_told(ended, 69, "application", "gave up")
    assert ended.output.count("not yet") == 2
    assert ended.output.count("connect_attempted") == 2


def test_an_application_that_does_without_is_started_like_any_other(start: Start) -> None:
    """BOOT-2: what it makes of the failure is its own business; the port still waits for its database."""
    start.write(TABLES + CARELESS + HELLO)

    ended = start.run("shop:app", {"SHOP_DSN": absent("psycopg")[0], "HOLDFAST_CONNECT_ATTEMPTS": "2"})

    assert "going on without tables" in ended.output
    assert_told(ended, 69, "databases", "(2 attempts)")


def test_a_client_that_bypasses_the_hooks_gets_the_right_status_and_advice(start: Start) -> None:
    """BOOT-6: nobody can wait for it, and it is the database all the same."""
    port = quiet_port()
    start.write(f"import psycopg\npsycopg.connect('postgresql://app@127.0.0.1:{port}/shop')\n")

    assert_told(start.run(), 69, "application", "shop.py:2", "Start the database")
