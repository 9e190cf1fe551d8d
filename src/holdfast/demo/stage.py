"""The demo's stage: PostgreSQL, the buttons' server and the shop, opened in order, closed in reverse.

PostgreSQL ▸ control ▸ shop ▸ looking at it. Ctrl-C, SIGTERM or the end of the shop turn it round.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from holdfast.demo.asking import HOST
from holdfast.demo.child import answering, shop
from holdfast.demo.control import control, served
from holdfast.demo.watching import Watching
from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.postgresql_files import ServerMissingError
from holdfast.drill.process import ServerError
from holdfast.drill.servers import real_server

# A person at a button takes longer than a restart: give requests more patience than by default.
PATIENCE = {"HOLDFAST_MAX_WAIT_MS": "45000", "REQUEST_TIMEOUT_MS": "60000"}
# Orders that do not mind to be carried out later are written down after a short wait.
UNHURRIED = {"HOLDFAST_JOURNAL": "POST /api/orders/unhurried", "HOLDFAST_JOURNAL_AFTER_MS": "2000"}
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_UNAVAILABLE = 69  # EX_UNAVAILABLE


def run(port: int = 0) -> int:
    """Show the demo, its shop on *port* (0: a free one), until Ctrl-C; the exit status.

    0 when it was told to end, 69 when PostgreSQL is missing or does not start, else the shop's own
    status when it ended by itself (1 when that was 0).
    """
    try:
        return asyncio.run(_show(port or quiet_port()))
    except (ServerMissingError, ServerError) as error:
        print(f"The demo needs a PostgreSQL: {error}", file=sys.stderr)
        return _UNAVAILABLE


async def _show(port: int) -> int:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPS:
        loop.add_signal_handler(number, told.set)  # again and again: ending is bounded anyway
    async with AsyncExitStack() as house:
        server = await house.enter_async_context(_database())
        watching = Watching(server, port)
        token = secrets.token_urlsafe(18)
        sock = socket.create_server((HOST, 0))
        house.push_async_callback(watching.bench.rest)  # a button pressed just now is still at work
        await house.enter_async_context(served(control(watching, token, port), sock))
        house.callback(watching.close)
        own = {
            "DATABASE_URL": server.url(),
            "APP_ENV": "development",
            "DEMO_CONTROL": f"http://{HOST}:{sock.getsockname()[1]}/?token={token}",
            **PATIENCE,
            **UNHURRIED,
        }
        process = await house.enter_async_context(shop(port, own, _folder(server)))
        house.push_async_callback(watching.visitors.leave)
        if not await _first(told.wait(), process.wait(), answering(port)):
            return _status(told, process)
        _announce(port, server)
        await _first(told.wait(), process.wait(), watching.run())
        return _status(told, process)


def _status(told: asyncio.Event, process: Process) -> int:
    if told.is_set():
        print("\nEnding the demo.", flush=True)
        return 0
    print(f"The shop ended by itself (exit status {process.returncode}).", file=sys.stderr)
    return process.returncode if process.returncode and process.returncode > 0 else 1


def _announce(port: int, server: PostgreSQL) -> None:
    lines = (
        "",
        f"  The shop is open:  http://{HOST}:{port}/",
        f"  Its PostgreSQL listens on port {server.port}; stop it with the button on the page.",
        "  Ctrl-C ends everything.",
        "",
    )
    print("\n".join(lines), flush=True)


@asynccontextmanager
async def _database() -> AsyncIterator[PostgreSQL]:
    """A PostgreSQL of our own; its calls block, so they run in a thread."""
    print("Starting PostgreSQL and the shop ...", flush=True)
    server = real_server("postgresql")
    await asyncio.to_thread(server.__enter__)
    try:
        yield server
    finally:
        await asyncio.to_thread(_end, server)


def _end(server: PostgreSQL) -> None:
    """End it and remove its folder; the postmaster buries its own children when it is told to stop."""
    try:
        server.stop("immediate")
    finally:
        server.close()


def _folder(server: PostgreSQL) -> Path:
    """Where the shop stands: within the server's own folder, which goes even if we are killed."""
    assert server.folder is not None
    folder = server.folder / "shop"
    folder.mkdir()
    return folder


async def _first(*wanted: Awaitable[Any]) -> bool:
    """Wait for the first of *wanted*; whether it was the last one given."""
    tasks = [asyncio.ensure_future(one) for one in wanted]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
    return done == {tasks[-1]}
