"""Closes connections on which somebody still waits: `python closing_child.py DRIVER async|sync`.

psycopg frees its memory with the connection. A process that goes on using it ends by a signal, or
hangs, when the allocator overwrites what is freed (MALLOC_PERTURB_, of glibc).
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import sys
from collections.abc import Awaitable

from hooked import Flavour, hooked, isolated

from holdfast.databases.sqlalchemy_session import OwnSession
from holdfast.drill.servers import real_server

ROUNDS = 15
PATIENCE = 0.05


async def given_up(question: Awaitable[object]) -> None:
    """Ask into silence, and wait no longer."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(question, PATIENCE)


async def main(driver: str, kind: str) -> None:
    flavour = Flavour(driver, is_async=kind == "async")
    with real_server("postgresql") as server, server.proxied() as proxy, isolated():
        async with hooked(flavour, flavour.url(server, proxy)) as shop:
            for number in range(ROUNDS):
                session = await asyncio.create_task(shop.database.driver.open())  # in a context of its own
                own = OwnSession(shop.engine._holdfast_hooks)  # type: ignore[attr-defined]
                await own.run("SELECT 1")
                proxy.black_hole()
                await given_up(session.ping() if number % 2 else session.waiting([1]))
                await session.close()
                asking = asyncio.create_task(own.run("SELECT 2"))
                await asyncio.sleep(PATIENCE)
                await own.close()
                await asyncio.wait([asking], timeout=5)
                assert asking.done()
                assert asking.exception() is not None
                proxy.heal()
    print("alive")


if __name__ == "__main__":
    faulthandler.enable()
    asyncio.run(main(*sys.argv[1:]))
