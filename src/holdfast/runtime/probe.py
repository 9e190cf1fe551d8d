"""A small listener for an orchestrator's probes that answers from the first moment of a start.

It has a thread of its own, so that neither a slow import nor a blocked loop can silence it.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from holdfast.runtime.port import Place, failure

_VARIABLE = "HOLDFAST_PROBE_PORT"


class Vital(Protocol):
    """What it tells."""

    phase: str
    started: bool
    draining: bool


class ProbeListener:
    """Live 200; startup and ready 503 with the phase's name until everything is up."""

    def __init__(self, server: ThreadingHTTPServer | None) -> None:
        self._server = server

    @classmethod
    def opened(cls, port: int | None, vital: Vital, host: str = "") -> ProbeListener:
        """Listen on *port* of all addresses; without a port there is nothing to do.

        Raises `StartFailure` when the port cannot be had.
        """
        if port is None:
            return cls(None)
        try:
            server = ThreadingHTTPServer((host, port), _handler(vital))
        except (OSError, OverflowError) as error:
            raise failure(Place(host, port, _VARIABLE, option=None), error) from error
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="holdfast-probes", daemon=True).start()
        return cls(server)

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self._server is None else int(self._server.server_address[1])

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _handler(vital: Vital) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/_holdfast")
            status, body = _answer(path, vital)
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """A probe is no news."""

    return Handler


def _answer(path: str, vital: Vital) -> tuple[int, dict[str, Any]]:
    if path in ("/health", "/livez"):
        return 200, {"status": "ok", "service": "alive"}
    if path == "/startupz":
        return (200 if vital.started else 503), {"started": vital.started, "phase": vital.phase}
    if path in ("/api/health", "/readyz"):
        ready = vital.started and not vital.draining
        phase = "draining" if vital.draining else vital.phase
        return (200 if ready else 503), {"ok": ready, "phase": phase}
    return 404, {"error": "not found"}
