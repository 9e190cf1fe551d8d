"""From an ASGI scope to a `Request`: its id, its deadline, its key, and who sent it."""

from __future__ import annotations

import re
from random import getrandbits
from time import monotonic

from holdfast.asgi.types import Scope
from holdfast.context import Request
from holdfast.policy.keys import read_key

_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}\Z")
FOREVER_S = 10 * 365 * 86400.0


def path_in(scope: Scope) -> str:
    """The path as the application's routes name it: without the part under which a proxy serves it.

    Servers put that part before every path, also where the proxy has taken it away; frameworks
    take it away again, and so do we, where the path has it.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return path[len(root) :]
    return path


def request_of(scope: Scope, timeout: float, path: str | None = None) -> Request:
    """The request of an `http` or `websocket` scope; *path* where its `path_in` is known already.

    `X-Request-ID` is taken over when it is 1 to 128 characters of `[A-Za-z0-9._-]`, else made of
    128 random bits; a request run from the journal has the id of its 202. The deadline is *timeout*
    seconds away, twice that for mobile clients; a WebSocket has none.
    """
    headers = dict(scope["headers"])
    given = headers.get(b"x-request-id")
    name = given.decode("ascii") if given is not None and _ID.match(given) else f"{getrandbits(128):032x}"
    now = monotonic()
    kind = scope["type"]
    if kind != "http":
        timeout = FOREVER_S
    elif b"Mobi" in headers.get(b"user-agent", b""):
        timeout *= 2
    if path is None:
        path = path_in(scope)
    request = Request(name, scope.get("method", "GET"), path, now, now + timeout, None, kind)
    request.timeout_s = timeout
    if b"idempotency-key" in headers:
        request.key, request.key_flaw = read_key(headers[b"idempotency-key"])
    rerun = scope.get("holdfast.journal")
    if rerun is not None:
        request.key, request.key_flaw = rerun.key, ""
        request.id = rerun.request_id or name
    request.headers = headers
    client = scope.get("client")
    if client:
        request.client = client[0]
    return request


def background(name: str) -> Request:
    """What stands for work outside any request: the application's lifespan and its tasks."""
    now = monotonic()
    return Request(name, "", "", now, now + FOREVER_S, None, "background")
