"""DB-10, DB-12: a login that was ended leaves nothing behind, whoever keeps its error."""

from __future__ import annotations

import asyncio

import pytest
from hooked import POSTGRESQL, Flavour, Hooked, isolated, read, requested, until

LOGINS = [flavour for flavour in POSTGRESQL if flavour.is_async]


@pytest.mark.parametrize("flavour", LOGINS, ids=str)
async def test_a_login_that_was_ended_is_closed_while_its_error_is_kept(flavour: Flavour) -> None:
    """A server that stops waits for whoever has connected and says nothing."""
    connected: list[bool] = []
    closed: list[bool] = []

    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(True)
        while await reader.read(1000):
            pass
        closed.append(True)
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with isolated():
        one = Hooked(flavour, f"postgresql+{flavour.driver}://postgres@127.0.0.1:{port}/shop", "shop")
        one.database.dismissed = True  # so that it is not tried again
        with requested() as request:
            asking = asyncio.ensure_future(one.run(read))
            await until(lambda: one.database.connecting)
            await until(lambda: connected)
            for opening in list(one.database.connecting.values()):
                opening.end()
            error = (await asyncio.gather(asking, return_exceptions=True))[0]

            assert isinstance(error, Exception)
            assert request.ledger.error is not None
            await until(lambda: closed, within=2.0)
        await one.dispose()
    server.close()
