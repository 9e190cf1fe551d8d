"""The listener for an orchestrator's probes answers from the first moment (BOOT-4, HLT-4)."""

from __future__ import annotations

import errno
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.asgi.health import Vital
from holdfast.runtime.port import Place, PortTaken, failure
from holdfast.runtime.probe import ProbeListener


@pytest.fixture
def vital() -> Vital:
    return Vital(phase="databases")


@pytest.fixture
def listener(vital: Vital) -> Iterator[ProbeListener]:
    one = ProbeListener.opened(0, vital, "127.0.0.1")
    yield one
    one.close()


def ask(listener: ProbeListener, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{listener.port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, json.load(answer)


@pytest.mark.parametrize("path", ["/health", "/livez", "/_holdfast/livez", "/livez?deep=1"])
def test_it_is_alive_from_the_first_moment(listener: ProbeListener, path: str) -> None:
    assert ask(listener, path) == (200, {"status": "ok", "service": "alive"})


def test_it_names_the_phase_until_everything_is_up(listener: ProbeListener, vital: Vital) -> None:
    assert ask(listener, "/startupz") == (503, {"started": False, "phase": "databases"})
    assert ask(listener, "/readyz") == (503, {"ok": False, "phase": "databases"})

    vital.started, vital.phase = True, "ready"

    assert ask(listener, "/startupz") == (200, {"started": True, "phase": "ready"})
    assert ask(listener, "/api/health") == (200, {"ok": True, "phase": "ready"})


def test_while_draining_it_is_not_ready_and_still_started(listener: ProbeListener, vital: Vital) -> None:
    vital.started, vital.phase, vital.draining = True, "ready", True

    assert ask(listener, "/readyz") == (503, {"ok": False, "phase": "draining"})
    assert ask(listener, "/startupz")[0] == 200
    assert ask(listener, "/livez")[0] == 200


def test_other_paths_are_not_its_business(listener: ProbeListener) -> None:
    assert ask(listener, "/items") == (404, {"error": "not found"})


def test_without_a_port_there_is_nothing_to_do(vital: Vital) -> None:
    listener = ProbeListener.opened(None, vital)

    assert listener.port is None
    listener.close()


def test_a_taken_port_is_told(vital: Vital) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]

        with pytest.raises(PortTaken, match=str(port)) as refused:
            ProbeListener.opened(port, vital, "127.0.0.1")

    assert f"Port {port} of 127.0.0.1 (HOLDFAST_PROBE_PORT) is taken by process" in refused.value.description
    assert f"listen elsewhere: set HOLDFAST_PROBE_PORT={port + 1}" in refused.value.action
    assert "--port" not in str(refused.value)


def test_a_port_that_may_not_be_had_is_told_by_its_variable() -> None:
    """PORT-2, BOOT-4."""
    low = failure(Place("", 80, "HOLDFAST_PROBE_PORT", None), PermissionError(errno.EACCES, "denied"))
    wrong = failure(Place("", 0, "HOLDFAST_PROBE_PORT", None), OSError(errno.EINVAL, "Invalid argument"))

    assert "Port 80 (HOLDFAST_PROBE_PORT) is below 1024" in low.description
    assert "set HOLDFAST_PROBE_PORT=8080" in low.action
    assert "Set HOLDFAST_PROBE_PORT to a number" in wrong.action
    assert "HOST" not in wrong.action.replace("HOLDFAST", "")


def test_closed_it_listens_no_more(vital: Vital) -> None:
    listener = ProbeListener.opened(0, vital, "127.0.0.1")
    port = listener.port
    assert port is not None
    listener.close()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
