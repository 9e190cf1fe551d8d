"""Ports for servers that come and go: nobody else who looks for one is given the same."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from contextlib import ExitStack

import pytest

from holdfast.drill import ports
from holdfast.drill.ports import quiet_port

ASK = "from holdfast.drill import ports; ports.LOWEST, ports.HIGHEST = {0}, {1}; print(ports.quiet_port())"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Two ports to choose from, free when the test begins."""
    lowest = next(port for port in iter(quiet_port, None) if port < ports.HIGHEST and _free(port + 1))
    ports._claims.pop().close()
    monkeypatch.setattr(ports, "LOWEST", lowest)
    monkeypatch.setattr(ports, "HIGHEST", lowest + 1)
    return lowest, lowest + 1


def test_a_port_is_given_once_though_nobody_listens_yet(few: tuple[int, int]) -> None:
    """A server starts seconds after its port was chosen."""
    assert {quiet_port(), quiet_port()} == set(few)
    with pytest.raises(OSError, match=f"no free port on 127.0.0.1 between {few[0]} and {few[1]}"):
        quiet_port()


def test_another_process_is_not_given_a_port_of_ours(few: tuple[int, int]) -> None:
    """Test runs beside each other share a machine."""
    ours = quiet_port()
    asked = subprocess.run(
        [sys.executable, "-c", ASK.format(*few)], capture_output=True, text=True, timeout=30, check=True
    )
    assert int(asked.stdout) == next(port for port in few if port != ours)


def test_a_port_somebody_listens_on_is_not_given(few: tuple[int, int]) -> None:
    with socket.create_server(("127.0.0.1", few[0])):
        assert quiet_port() == few[1]


def test_old_claims_end_so_that_no_process_runs_out_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CLAIMS", 2)
    claims: deque[socket.socket] = deque()
    monkeypatch.setattr(ports, "_claims", claims)
    given = [quiet_port() for _ in range(5)]
    with ExitStack() as opened:
        again = [port for port in given if _bound(opened, port)]
        for claim in claims:
            opened.enter_context(claim)
    assert again == given[:3]


def _free(port: int) -> bool:
    with ExitStack() as sockets:
        return _bound(sockets, port)


def _bound(sockets: ExitStack, port: int) -> bool:
    try:
        sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
    except OSError:
        return False
    return True
