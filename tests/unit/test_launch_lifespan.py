"""What is told of a lifespan that fails, as `holdfast run` tells it (BOOT-6, ENV-3, SHD-2, SHD-3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_launch import WITHIN, run

pytestmark = pytest.mark.slow

HEAD = """
import asyncio
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI
from pydantic_settings import BaseSettings
from sqlalchemy import create_engine, text

class Settings(BaseSettings):
    shop_title: str
    shop_tables: int

class Stubborn:
    async def __call__(self, scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no amqp://u:hunter2@h/\\nask Eve"})
        await asyncio.Event().wait()

async def fails(reason):
    raise ValueError(reason)

async def both():
    async with asyncio.TaskGroup() as group:
        group.create_task(fails("one reason"))
        group.create_task(fails("the other"))

@asynccontextmanager
async def lifespan(app):
    {before}
    yield
    {after}

app = FastAPI(lifespan=lifespan)
"""


def shop(before: str = "pass", after: str = "pass", end: str = "") -> str:
    return HEAD.replace("{before}", before).replace("{after}", after) + end


FAILING = {
    "password": (
        shop("raise RuntimeError('cannot connect to postgresql://u:hunter2@h/db')"),
        70,
        ["RuntimeError: cannot connect to postgresql://u:***@h/db", "shop.py:29 (its startup)"],
    ),
    "two lines": (
        shop("raise RuntimeError('cannot reach Kafka at k1\\nsee https://wiki/kafka')"),
        70,
        ["cannot reach Kafka at k1", "see https://wiki/kafka"],
    ),
    "settings": (
        shop("Settings()"),
        78,
        ["2 things are wrong with the environment", "SHOP_TITLE is missing", "SHOP_TABLES is missing"],
    ),
    "variable": (shop("os.environ['NEEDED']"), 78, ["NEEDED is missing; shop.py:29 reads it"]),
    "group": (shop("await both()"), 70, ["ValueError: one reason", "ValueError: the other"]),
    "statement": (
        shop("create_engine('sqlite://').connect().execute(text(\"select 'hunter2' from nowhere\"))"),
        70,
        ["shop.py:29", "no such table: nowhere"],
    ),
    "exit": (shop("raise SystemExit(3)"), 70, ["ended the process with status 3"]),
    "message": (shop(end="app = Stubborn()\n"), 70, ["no amqp://u:***@h/", "ask Eve"]),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_startup_that_fails_says_why_and_no_secret(tmp_path: Path, kind: str) -> None:
    """BOOT-6, ENV-3: by what it raised, and not by the last line of a traceback."""
    app, status, words = FAILING[kind]
    with run(tmp_path, ready=False, app=app) as one:
        assert one.process.wait(WITHIN) == status, one.output
        told = one.output[one.output.index("holdfast could not start: ") :]
        for word in words:
            assert word in told
        for word in ("Traceback", "hunter2", "errors.pydantic.dev", "sqlalche.me", "+---"):
            assert word not in one.output


LOSES_LATE = """
import asyncio
from contextlib import asynccontextmanager
from fastapi import FastAPI
from holdfast.events import BUS, DatabaseLost

async def loses():
    try:
        await asyncio.Event().wait()
    finally:
        BUS.publish(DatabaseLost(database="shop", target="postgresql://h/shop", cause="late", pool={}))
        print("lost now", flush=True)

@asynccontextmanager
async def lifespan(app):
    app.state.task = asyncio.create_task(loses())
    await asyncio.sleep(0)
    raise RuntimeError("no table")
    yield

app = FastAPI(lifespan=lifespan)
"""


def test_once_it_is_said_why_a_start_failed_nothing_else_is(tmp_path: Path) -> None:
    """BOOT-6: what becomes of a database that has turned us away is no news after that."""
    with run(tmp_path, ready=False, app=LOSES_LATE) as one:
        assert one.process.wait(WITHIN) == 70, one.output
        assert "no table" in one.output
        assert "lost now" in one.output
        assert "database_lost" not in one.output


STOPPING = {
    "hangs": ("await asyncio.sleep(60)", 1, "abandoned the application's own shutdown"),
    "exits": ("raise SystemExit(3)", 0, "the application's shutdown failed"),
}


@pytest.mark.parametrize("kind", STOPPING)
def test_a_shutdown_that_goes_wrong_does_not_end_the_stop(tmp_path: Path, kind: str) -> None:
    """SHD-2, SHD-3: it is named, and every step has run."""
    after, expected, words = STOPPING[kind]
    with run(tmp_path, app=shop(after=after), HOLDFAST_SHUTDOWN_TIMEOUT_MS="1000") as one:
        status, took = one.stop()

        assert status == expected, one.output
        assert took < 4
        assert words in one.output
        steps = [line["step"] for line in one.lines if line["event"] == "stop_step"]
        assert steps[-1] == "close"
        assert not [line for line in one.lines if line["event"] == "left with work still going on"]
