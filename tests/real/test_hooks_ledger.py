"""REQ-4, TXN-4: what the ledger of a request knows, whichever engine it used and whatever it did."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hooked import (
    EVERY,
    POSTGRESQL,
    Flavour,
    Hooked,
    hooked,
    insert,
    isolated,
    names,
    placing,
    read,
    requested,
)
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from holdfast.context import STRAYS, Ledger
from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.policy.replay import Commit


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, tmp_path: Path
) -> AsyncIterator[Hooked]:
    sqlite = f"sqlite+{flavour.driver}:///{tmp_path}/shop.db"
    url = sqlite if flavour.backend == "sqlite" else flavour.url(shared_postgresql)
    async with hooked(flavour, url) as shop:
        yield shop


every = pytest.mark.parametrize("flavour", EVERY, ids=str)
on_postgresql = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def settled(ledger: Ledger) -> tuple[Commit, int, int]:
    return ledger.commit, ledger.pending, ledger.open_writes


@every
async def test_a_read_leaves_no_doubt_and_no_trace(shop: Hooked) -> None:
    with requested("POST") as request:
        await shop.run(read)

    assert settled(request.ledger) == (Commit.NONE, 0, 0)
    assert (request.ledger.sent, request.ledger.databases) == (1, {"shop"})
    assert (request.ledger.fault, request.ledger.lost) == (None, None)
    assert not request.may_run_again()  # something was sent, and there is no key


@every
async def test_a_write_is_open_until_it_is_committed(shop: Hooked, name: str) -> None:
    seen = []

    def work(connection: Connection) -> None:
        insert(connection, name)
        seen.append(settled(request.ledger))
        connection.commit()
        seen.append(settled(request.ledger))

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert seen == [(Commit.NONE, 0, 1), (Commit.COMMITTED, 0, 0)]
    assert not request.may_run_again()


@every
async def test_a_write_that_is_rolled_back_may_be_made_again(shop: Hooked, name: str) -> None:
    def work(connection: Connection) -> None:
        insert(connection, name)
        connection.rollback()

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert settled(request.ledger) == (Commit.ROLLED_BACK, 0, 0)
    assert request.may_run_again()


@every
async def test_a_write_that_is_left_behind_is_rolled_back(shop: Hooked, name: str) -> None:
    with requested("POST", key="k") as request:
        await shop.run(lambda connection: insert(connection, name))

    assert settled(request.ledger) == (Commit.ROLLED_BACK, 0, 0)
    assert name not in await shop.run(names)


@every
async def test_an_empty_commit_is_no_commit(shop: Hooked) -> None:
    def work(connection: Connection) -> None:
        read(connection)
        connection.commit()

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert settled(request.ledger) == (Commit.NONE, 0, 0)


@every
async def test_the_worst_of_two_transactions_counts(shop: Hooked, name: str) -> None:
    def work(connection: Connection) -> None:
        placing(name)(connection)
        insert(connection, name + "2")
        connection.rollback()

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert settled(request.ledger) == (Commit.COMMITTED, 0, 0)


@every
async def test_an_autocommitted_write_is_a_commit(shop: Hooked, name: str) -> None:
    """REQ-4."""
    with requested("POST", key="k") as request:
        await shop.run(lambda connection: insert(connection, name), isolation_level="AUTOCOMMIT")

    assert settled(request.ledger) == (Commit.COMMITTED, 0, 0)
    assert name in await shop.run(names)


@every
async def test_an_autocommitted_read_is_none(shop: Hooked) -> None:
    with requested("POST", key="k") as request:
        await shop.run(read, isolation_level="AUTOCOMMIT")

    assert settled(request.ledger) == (Commit.NONE, 0, 0)


@every
async def test_an_autocommitted_write_that_was_refused_changed_nothing(shop: Hooked, name: str) -> None:
    await shop.run(placing(name))
    with requested("POST", key="k") as request, pytest.raises(IntegrityError):
        await shop.run(lambda connection: insert(connection, name), isolation_level="AUTOCOMMIT")

    assert settled(request.ledger) == (Commit.ROLLED_BACK, 0, 0)
    assert request.ledger.fault is None  # nothing that passes by itself


@on_postgresql
async def test_a_commit_sent_as_a_statement_is_a_commit(shop: Hooked, name: str) -> None:
    def work(connection: Connection) -> None:
        insert(connection, name)
        connection.execute(text("COMMIT"))

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert settled(request.ledger) == (Commit.COMMITTED, 0, 0)


@on_postgresql
async def test_a_constraint_that_fails_at_commit_is_a_rollback(shop: Hooked, name: str) -> None:
    """Refused, not in doubt: the server has said so."""
    with requested("POST", key="k") as request, pytest.raises(IntegrityError):
        await shop.run(placing(name, part_of="nothing"))

    assert settled(request.ledger) == (Commit.ROLLED_BACK, 0, 0)
    assert name not in await shop.run(names)


@every
async def test_requests_that_take_turns_on_a_connection_are_not_charged_with_each_other(
    shop: Hooked, name: str
) -> None:
    with requested("POST", key="one") as first:
        await shop.run(placing(name))
    with requested("POST", key="two") as second:
        await shop.run(read)

    assert (first.ledger.commit, second.ledger.commit) == (Commit.COMMITTED, Commit.NONE)
    assert second.ledger.sent == 1


@every
async def test_requests_side_by_side_have_ledgers_of_their_own(shop: Hooked, name: str) -> None:
    async def one(number: int) -> Commit:
        with requested("POST", key="k") as request:
            await shop.run(placing(f"{name}{number}") if number % 2 else read)
        return request.ledger.commit

    # SQLite lets one write at a time
    ends = [await one(number) for number in range(2)]
    if shop.database.driver.networked:
        ends = await asyncio.gather(*(one(number) for number in range(2, 8)))

    assert set(ends[0::2]) == {Commit.NONE}
    assert set(ends[1::2]) == {Commit.COMMITTED}


@pytest.mark.parametrize("flavour", [one for one in EVERY if not one.is_async], ids=str)
async def test_a_write_of_a_thread_without_context_makes_every_request_careful(
    shop: Hooked, name: str
) -> None:
    """It may have been this one's: nobody can tell."""
    before = STRAYS.count
    with requested("POST", key="k") as request:
        thread = threading.Thread(target=shop._in_thread, args=(placing(name), {}))
        thread.start()
        await asyncio.to_thread(thread.join)

    assert STRAYS.count > before
    assert settled(request.ledger) == (Commit.NONE, 0, 0)
    assert not request.may_run_again()


@every
async def test_a_read_outside_any_request_disturbs_nobody(shop: Hooked) -> None:
    before = STRAYS.count
    await shop.run(read)

    assert STRAYS.count == before


@every
async def test_what_was_done_on_the_drivers_own_connection_is_in_doubt(shop: Hooked) -> None:
    """Lent out, used past the dialect, given back: a write may have been made that nobody saw."""

    def work(connection: Connection) -> None:
        connection.connection.cursor().close()

    with requested("POST", key="k") as request:
        await shop.run(work)

    assert request.commit is Commit.UNKNOWN
    assert not request.may_run_again()


@every
async def test_a_read_on_the_drivers_own_connection_leaves_no_doubt(shop: Hooked) -> None:
    with requested("GET") as request:
        await shop.run(lambda connection: connection.connection.cursor().close())

    assert request.may_run_again()
