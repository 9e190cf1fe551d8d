"""A process whose application hangs, at any time, ends all the same (BOOT-6, SHD-1, SHD-2, SHD-3)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from test_launch import WITHIN, Run, run

pytestmark = pytest.mark.slow

HEAD = """
import asyncio
import threading
import time
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    print("lifespan begins", flush=True)
{body}

app = FastAPI(lifespan=lifespan)

@app.get("/block")
async def block():
    print("block begins", flush=True)
    time.sleep(60)
"""
IMPORT = 'import time\nprint("import begins", flush=True)\ntime.sleep(60)\n'
LEFT = "left with work still going on"


def starting(*lines: str) -> str:
    return HEAD.format(body="\n".join(f"    {line}" for line in (*lines, "yield")))


def ended(one: Run, within: float = WITHIN) -> int:
    return one.process.wait(within)


WAITS = starting("for _ in range(120): time.sleep(0.5)")


@pytest.mark.parametrize(
    ("app", "words"), [(IMPORT, "import begins"), (WAITS, "lifespan begins")], ids=["import", "lifespan"]
)
def test_a_second_signal_exits_at_once_while_the_start_blocks(tmp_path: Path, app: str, words: str) -> None:
    """SHD-2: no callback of the loop runs then."""
    with run(tmp_path, ready=False, app=app) as one:
        one.until(words)
        one.process.send_signal(signal.SIGTERM)
        one.until("SIGTERM: stopping")
        status, took = one.stop(signal.SIGINT)

        assert status == 128 + signal.SIGINT
        assert took < 2
        assert "Traceback" not in one.output


@pytest.mark.parametrize(
    ("app", "words", "place"),
    [(IMPORT, "import begins", "shop.py:3 in <module>"), (WAITS, "lifespan begins", "in lifespan")],
    ids=["import", "lifespan"],
)
def test_a_start_that_blocks_is_named_and_ended(tmp_path: Path, app: str, words: str, place: str) -> None:
    """SHD-2: the time allowed runs from the signal on."""
    with run(tmp_path, ready=False, app=app, HOLDFAST_SHUTDOWN_TIMEOUT_MS="500") as one:
        one.until(words)
        status, took = one.stop()

        assert status == 1, one.output
        assert took < 5
        (told,) = (line for line in one.lines if line["event"] == LEFT)
        assert place in told["blocked"]


def test_a_request_that_blocks_the_loop_is_named_and_ended(tmp_path: Path) -> None:
    """SHD-2."""
    with run(tmp_path, app=starting(), HOLDFAST_SHUTDOWN_TIMEOUT_MS="500") as one, one.ask("/block"):
        one.until("block begins")
        status, took = one.stop()

        assert status == 1, one.output
        assert took < 5
        (told,) = (line for line in one.lines if line["event"] == LEFT)
        assert told["requests"] == ["GET /block"]
        assert "shop.py" in told["blocked"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_signals_wake_either_loop(tmp_path: Path, loop: str) -> None:
    """SHD-1: one that has nothing to do, too."""
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
    else:
        pytest.importorskip("uvloop")
    with run(tmp_path, PYTHONPATH=_before(tmp_path)) as one:
        status, took = one.stop(signal.SIGINT)

        assert status == 0, one.output
        assert took < 3
        assert "app stops" in one.output
        assert "Traceback" not in one.output


def _before(folder: Path) -> str:
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


THREAD = "threading.Thread(target=time.sleep, args=[60], name='consumer').start()"
FAILING = {
    "import": f"import threading, time\n{THREAD}\nraise RuntimeError('no broker')\n",
    "lifespan": starting(THREAD, "raise RuntimeError('no broker')"),
    "executor": starting(
        "asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)",
        "raise RuntimeError('no broker')",
    ),
}


@pytest.mark.parametrize("kind", FAILING)
def test_a_start_that_fails_ends_whatever_it_began(tmp_path: Path, kind: str) -> None:
    """BOOT-6: it says why at once, and its own status stays."""
    with run(tmp_path, ready=False, app=FAILING[kind]) as one:
        began = time.monotonic()
        assert ended(one) == 70, one.output
        assert time.monotonic() - began < 10
        assert one.output.count("holdfast could not start: application") == 1
        assert "no broker" in one.output
        assert one.output.index("no broker") < one.output.index(LEFT)


STUCK = {
    "thread": starting("await asyncio.to_thread(time.sleep, 60)"),
    "stubborn": starting(
        "while True:",
        "    try: await asyncio.sleep(1)",
        "    except BaseException: print('again', flush=True)",
    ),
}


@pytest.mark.parametrize("kind", STUCK)
def test_a_stop_in_the_middle_of_a_start_that_hangs(tmp_path: Path, kind: str) -> None:
    """BOOT-6, SHD-2."""
    with run(tmp_path, ready=False, app=STUCK[kind]) as one:
        one.until("lifespan begins")
        status, took = one.stop()

        assert status == 1, one.output
        assert took < 6
        assert LEFT in one.output


FORKING = """
import multiprocessing, time
fork = multiprocessing.get_context("fork")
begun = fork.Event()
def works():
    begun.set()
    time.sleep(60)
child = fork.Process(target=works)
child.start()
begun.wait()
child.terminate()
child.join(10)
print("child ended with", child.exitcode, flush=True)
async def app(scope, receive, send): ...
"""


def test_a_forked_child_ends_by_a_signal_of_its_own(tmp_path: Path) -> None:
    """SHD-1: the first signal is ours, and a worker process of the application's is not us."""
    with run(tmp_path, ready=False, app=FORKING) as one:
        one.until("child ended with -15")
        assert "stopping" not in one.output
