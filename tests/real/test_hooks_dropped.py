"""PRM-5, DB-2: what an application drops is dropped: engines of one job, one tenant, one thread."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hooked import POSTGRESQL, Flavour, Hooked, isolated, prepare, read, until

from holdfast.drill.postgresql import PostgreSQL

OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


# The libraries complain of connections that nobody closed: the application's fault, and the point here.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
async def test_engines_that_are_dropped_keep_no_connection(flavour: Flavour, postgresql: PostgreSQL) -> None:
    """As without holdfast; the first one is held for the watch, and goes on."""
    with isolated() as registry:
        first = Hooked(flavour, flavour.url(postgresql), "shop")
        await first.run(prepare)
        for _ in range(8):
            one = Hooked(flavour, flavour.url(postgresql), "shop")
            assert await one.run(read) == 1
            del one
            gc.collect()
            await asyncio.sleep(0)

        await until(lambda: gc.collect() is not None and postgresql.execute(OTHERS) == [("1",)])
        assert len(registry) == 1
        assert len(first.database.drivers) == 1
        assert len(first.database.links) == 1
        await first.dispose()
