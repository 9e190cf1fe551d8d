"""Closed-loop load from a process of its own: wrk where it is installed, else our own client."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 8
_DONE = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)\b")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.+)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Done:
    """What one slice of load came to."""

    requests: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def tool() -> str:
    """Which client makes the load."""
    return "wrk" if shutil.which("wrk") else "our own client (wrk is not installed)"


def press(port: int, path: str, seconds: int, connections: int = CONNECTIONS) -> Done:
    """Load for *seconds*. Raises RuntimeError when a single request failed: the figure would be worthless."""
    if shutil.which("wrk"):
        return _wrk(f"http://127.0.0.1:{port}{path}", seconds, connections)
    command = [sys.executable, "-m", "benchmarks.client", str(port), path, str(connections), str(seconds)]
    done = json.loads(_output(command))
    if done["failed"]:
        raise RuntimeError(f"{done['failed']} of {done['requests']} requests failed")
    return Done(int(done["requests"]), done["seconds"])


def _wrk(url: str, seconds: int, connections: int) -> Done:
    text = _output(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", url])
    done = _DONE.search(text)
    if done is None or _BAD.search(text):
        raise RuntimeError(f"wrk met errors:\n{text}")
    return Done(int(done[1]), float(done[2]) * _SECONDS[done[3]])


def _output(command: list[str]) -> str:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout
