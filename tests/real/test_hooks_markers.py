"""What the hooks make of COMMIT where the work is marked (TXN-4, REQ-5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hooked import POSTGRESQL, Flavour, Hooked, hooked, insert, isolated, names, placing, requested, watched
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from holdfast.context import Marker
from holdfast.databases.adopt import REGISTRY
from holdfast.databases.sqlalchemy_commit import AlreadyAppliedError
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from holdfast.policy.replay import Commit

KEY = "ab" * 32
EACH = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
LEVELS = pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"])


@pytest.fixture
async def shop(postgresql: PostgreSQL, proxy: Proxy, flavour: Flavour) -> AsyncIterator[Hooked]:
    with isolated() as registry:
        registry.markers = replace(REGISTRY.markers, active=True)
        with watched(registry):
            async with hooked(flavour, flavour.url(postgresql, proxy)) as one:
                await one.run(clean)
                yield one
                await one.database.markers.close()  # type: ignore[union-attr]


def clean(connection) -> None:
    connection.execute(text("DELETE FROM things"))
    connection.execute(text("DROP TABLE IF EXISTS holdfast_idempotency"))
    connection.commit()


def markers(connection) -> list[tuple[str, int]]:
    return [tuple(row) for row in connection.execute(text("SELECT key, number FROM holdfast_idempotency"))]


async def place(shop: Hooked, name: str, level: str, marker: Marker) -> None:
    with requested("POST", key="k") as request:
        request.marker = marker
        work = placing(name) if level != "AUTOCOMMIT" else lambda connection: insert(connection, name)
        await shop.run(work, isolation_level=level)


@EACH
@LEVELS
async def test_the_marker_is_there_with_the_work(shop: Hooked, level: str) -> None:
    marker = Marker(KEY)
    await place(shop, "one", level, marker)
    await place(shop, "two", level, marker)

    assert await shop.run(names) == ["one", "two"]
    assert await shop.run(markers) == [(KEY, 0), (KEY, 1)]
    assert marker.ends == [Commit.COMMITTED] * 2


@EACH
@LEVELS
@pytest.mark.parametrize("before", [True, False], ids=["commit lost", "answer lost"])
async def test_a_lost_commit_is_asked_about(shop: Hooked, proxy: Proxy, level: str, before: bool) -> None:
    await place(shop, "first", level, Marker("cd" * 32))  # makes the table
    earlier = proxy.counters.cuts
    proxy.cut_when(commits, before=before)
    marker = Marker(KEY)
    if before:
        with pytest.raises(DBAPIError):
            await place(shop, "one", level, marker)
    else:
        await place(shop, "one", level, marker)

    assert proxy.counters.cuts == earlier + 1
    assert marker.ends == [Commit.ROLLED_BACK if before else Commit.COMMITTED]
    assert await shop.run(names) == (["first"] if before else ["first", "one"])


@EACH
@LEVELS
async def test_the_same_work_again_is_rolled_back(shop: Hooked, level: str) -> None:
    await place(shop, "one", level, Marker(KEY))
    again = Marker(KEY)
    # A snapshot that cannot see the marker is told of a conflict instead; asked again, it sees it.
    with pytest.raises((AlreadyAppliedError, DBAPIError)):
        await place(shop, "two", level, again)

    assert again.existed
    assert await shop.run(names) == ["one"]


@EACH
async def test_a_failing_write_leaves_no_marker(shop: Hooked) -> None:
    await place(shop, "one", "AUTOCOMMIT", Marker("cd" * 32))
    marker = Marker(KEY)
    with pytest.raises(DBAPIError):
        await place(shop, "one", "AUTOCOMMIT", marker)

    assert await shop.run(markers) == [("cd" * 32, 0)]
    await place(shop, "two", "AUTOCOMMIT", Marker(KEY))  # and the connection is as good as before
    assert await shop.run(names) == ["one", "two"]


@EACH
async def test_a_table_that_went_away_costs_one_attempt(shop: Hooked) -> None:
    await place(shop, "one", "REPEATABLE READ", Marker(KEY))
    await shop.run(clean)
    with pytest.raises(DBAPIError):
        await place(shop, "two", "REPEATABLE READ", Marker(KEY))

    await place(shop, "two", "REPEATABLE READ", Marker(KEY))
    assert await shop.run(names) == ["two"]


@EACH
async def test_a_connection_lost_at_the_marker_has_committed_nothing(shop: Hooked, proxy: Proxy) -> None:
    await shop.run(names)
    await shop.database.markers.close()  # type: ignore[union-attr]
    await place(shop, "first", "REPEATABLE READ", Marker("cd" * 32))  # makes the table
    await shop.run(lambda connection: connection.invalidate())
    proxy.cut_when(lambda data: b"INSERT INTO" in data and b"holdfast_idempotency" in data, before=True)
    marker = Marker(KEY)
    with pytest.raises(DBAPIError):
        await place(shop, "one", "REPEATABLE READ", marker)

    assert marker.ends == [Commit.ROLLED_BACK]
    assert await shop.run(names) == ["first"]
