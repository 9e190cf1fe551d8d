"""An application is imported as the uvicorn it has would import it (PRM-5, BOOT-6)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import uvicorn
from test_launch import WITHIN, run

from holdfast.runtime.server import imports_within_loop

pytestmark = pytest.mark.slow

SERVING = """
from fastapi import FastAPI
app = FastAPI()

@app.get("/seen")
async def seen():
    return [sorted(done), asyncio.get_running_loop() is loop]
"""
BEFORE = """
import asyncio
done = set()
async def note(what):
    done.add(what)
loop = asyncio.get_event_loop()
task = loop.create_task(note("task"))
loop.run_until_complete(note("until complete"))
asyncio.run(note("run"))
"""
WITHIN_IT = """
import asyncio
done = set()
async def note(what):
    done.add(what)
loop = asyncio.get_running_loop()
task = asyncio.create_task(note("task"))
"""
CLOSING = """
import asyncio
loop = asyncio.get_event_loop()
loop.run_until_complete(asyncio.sleep(0))
loop.close()
async def app(scope, receive, send): ...
"""
RUNNING = "import asyncio\nasync def init(): ...\none = init()\ntry: asyncio.run(one)\nfinally: one.close()\n"
AS_OLD = "import holdfast.runtime.server as server\nserver.imports_within_loop = lambda: True\n"
UNAWARE = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"[1]"})
"""


@pytest.fixture
def as_old(tmp_path: Path) -> str:
    """The path on which the process takes its uvicorn for one before 0.47."""
    place = tmp_path / "old"
    place.mkdir()
    (place / "sitecustomize.py").write_text(AS_OLD)
    return os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.mark.skipif(imports_within_loop(), reason="the uvicorn that is installed does not either")
def test_an_import_may_run_a_loop(tmp_path: Path) -> None:
    """PRM-5: as under uvicorn 0.47, gunicorn, hypercorn. What it begins on "the" loop, the server's runs."""
    with run(tmp_path, app=BEFORE + SERVING) as one:
        assert one.get("/seen") == [["run", "task", "until complete"], True]
        assert one.stop()[0] == 0, one.output


def test_an_import_may_need_the_loop_running_where_its_uvicorn_had_it(tmp_path: Path, as_old: str) -> None:
    """PRM-5: as under every uvicorn before 0.47."""
    with run(tmp_path, app=WITHIN_IT + SERVING, PYTHONPATH=as_old) as one:
        assert one.get("/seen") == [["task"], True]
        assert one.stop()[0] == 0, one.output


def test_there_an_import_that_runs_a_loop_is_told_why_it_cannot(tmp_path: Path, as_old: str) -> None:
    """BOOT-6."""
    with run(tmp_path, app=RUNNING, ready=False, PYTHONPATH=as_old) as one:
        assert one.process.wait(WITHIN) == 70
        assert "shop.py:4 (importing shop): RuntimeError: asyncio.run() cannot be called" in one.output
        assert "uvicorn 0.47" in one.output


@pytest.mark.skipif(imports_within_loop(), reason="there the loop cannot be closed")
def test_an_import_that_closes_the_loop_is_told(tmp_path: Path) -> None:
    """BOOT-6."""
    with run(tmp_path, app=CLOSING, ready=False) as one:
        assert one.process.wait(WITHIN) == 70, one.output
        assert "shop:app closed the event loop while it was imported" in one.output
        assert "asyncio.run(...)" in one.output
        assert "Traceback" not in one.output


def test_it_is_the_installed_uvicorn_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """PRM-5."""
    monkeypatch.setattr(uvicorn.Config, "load_app", lambda self: None, raising=False)
    assert not imports_within_loop()

    monkeypatch.delattr(uvicorn.Config, "load_app")
    assert imports_within_loop()


def test_an_application_that_takes_every_scope_for_a_request_is_served(tmp_path: Path) -> None:
    """PRM-5: no server stops at its answer to the lifespan."""
    with run(tmp_path, app=UNAWARE) as one:
        assert one.get("/") == [1]
