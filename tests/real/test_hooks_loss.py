"""DB-4, TXN-4: what the hooks make of connections that are cut, reset, ended or restarted away."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hooked import (
    POSTGRESQL,
    SOON,
    Flavour,
    Hooked,
    hooked,
    insert,
    isolated,
    names,
    placing,
    read,
    requested,
    until,
)
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from holdfast.events import BUS, CommitInDoubt, Event
from holdfast.faults.category import Category
from holdfast.policy.replay import Commit

pytestmark = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
def way(shared_postgresql: PostgreSQL) -> Iterator[Proxy]:
    """A fault proxy before the shared server."""
    with shared_postgresql.proxied() as proxy:
        yield proxy


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, way: Proxy
) -> AsyncIterator[Hooked]:
    async with hooked(flavour, flavour.url(shared_postgresql, way)) as shop:
        yield shop


@pytest.fixture
def doubts() -> Iterator[list[CommitInDoubt]]:
    """The commits in doubt that were told meanwhile."""
    told: list[CommitInDoubt] = []

    def follow(event: Event) -> None:
        if isinstance(event, CommitInDoubt):
            told.append(event)

    unsubscribe = BUS.subscribe(follow)
    yield told
    unsubscribe()


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


def inserts(data: bytes) -> bool:
    return b"INSERT" in data


HANG_UP = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""


def await_gone(shop: Hooked) -> None:
    """Return when the kernel knows that every connection has been closed: a proxy passes it on."""
    give_up_at = time.monotonic() + SOON
    while not all(link.is_gone() for link in shop.database.links.values()):
        assert time.monotonic() < give_up_at, "a connection stays"
        time.sleep(0.01)


def by_hand(name: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        insert(connection, name)
        connection.execute(text("COMMIT"))

    return work


@pytest.mark.parametrize("before", [False, True], ids=["answer lost", "commit lost"])
async def test_a_commit_whose_answer_is_lost_is_in_doubt(
    shop: Hooked, way: Proxy, name: str, doubts: list[CommitInDoubt], before: bool
) -> None:
    """TXN-4: never guessed, never run again, with a key or without."""
    way.cut_when(commits, before=before)
    with requested("POST", key="k") as request, pytest.raises(DBAPIError):
        await shop.run(placing(name))

    ledger = request.ledger
    assert (ledger.commit, ledger.pending, ledger.open_writes) == (Commit.UNKNOWN, 0, 0)
    assert not request.may_run_again()
    assert ledger.lost == "shop"
    assert [(one.database, one.request_id) for one in doubts] == [("shop", "id")]
    way.heal()
    assert (name in await shop.run(names)) is not before


async def test_a_commit_sent_as_a_statement_is_in_doubt_like_any_other(
    shop: Hooked, way: Proxy, name: str
) -> None:
    way.cut_when(commits, before=False)
    with requested("POST", key="k") as request, pytest.raises(DBAPIError):
        await shop.run(by_hand(name))

    assert request.ledger.commit is Commit.UNKNOWN
    assert not request.may_run_again()


async def test_an_autocommitted_write_whose_answer_is_lost_is_in_doubt(
    shop: Hooked, way: Proxy, name: str
) -> None:
    way.cut_when(inserts, before=False)
    with requested("POST", key="k") as request, pytest.raises(DBAPIError):
        await shop.run(lambda connection: insert(connection, name), isolation_level="AUTOCOMMIT")

    assert request.ledger.commit is Commit.UNKNOWN
    assert not request.may_run_again()


@pytest.mark.parametrize("level", ["READ COMMITTED", "AUTOCOMMIT"])
async def test_what_was_never_sent_is_in_no_doubt(
    shop: Hooked, shared_postgresql: PostgreSQL, name: str, doubts: list[CommitInDoubt], level: str
) -> None:
    """TXN-4: a COMMIT, or a write that commits by itself, to a server that has hung up before."""

    def work(connection: Connection) -> None:
        if level != "AUTOCOMMIT":
            insert(connection, name)
        read(connection)
        shared_postgresql.execute(HANG_UP)
        await_gone(shop)
        if level == "AUTOCOMMIT":
            insert(connection, name)
        connection.commit()

    with requested("POST", key="k") as request, pytest.raises(DBAPIError):
        await shop.run(work, isolation_level=level)

    assert request.ledger.commit in (Commit.NONE, Commit.ROLLED_BACK)
    assert request.may_run_again()
    assert doubts == []
    assert name not in await shop.run(names)


@pytest.mark.parametrize("wrote", [True, False])
async def test_a_rollback_that_meets_a_lost_connection_has_succeeded(
    shop: Hooked, shared_postgresql: PostgreSQL, name: str, wrote: bool
) -> None:
    """REQ-4: a session is closed after its answer, mostly; there is nothing to be run again, or told."""

    def work(connection: Connection) -> object:
        if wrote:
            insert(connection, name)
        found = read(connection)
        shared_postgresql.execute(HANG_UP)
        await_gone(shop)
        connection.rollback()
        return found

    with requested("POST") as request:
        assert await shop.run(work) == 1

    ledger = request.ledger
    assert (ledger.fault, ledger.lost, ledger.open_writes) == (None, None, 0)
    assert ledger.commit is (Commit.ROLLED_BACK if wrote else Commit.NONE)
    assert name not in await shop.run(names)


async def test_a_write_that_is_lost_before_its_commit_may_be_made_again(
    shop: Hooked, way: Proxy, name: str
) -> None:
    way.cut_when(inserts, before=False)
    with requested("POST", key="k") as request, pytest.raises(DBAPIError):
        await shop.run(placing(name))

    ledger = request.ledger
    assert ledger.commit in (Commit.NONE, Commit.ROLLED_BACK)
    assert (ledger.lost, ledger.pending, ledger.open_writes) == ("shop", 0, 0)
    assert request.may_run_again()
    assert name not in await shop.run(names)


async def test_a_lost_read_is_charged_to_its_request(shop: Hooked, way: Proxy) -> None:
    way.cut_when(lambda data: b"SELECT 1" in data, before=False)
    with requested("GET") as request, pytest.raises(DBAPIError) as raised:
        await shop.run(read)

    fault = request.ledger.fault
    assert fault is not None
    assert (fault.category, fault.transient) == (Category.DATABASE_CONNECTION, True)
    assert (request.ledger.error, request.ledger.lost) == (raised.value.orig, "shop")
    assert request.may_run_again()
    assert await shop.run(read) == 1


async def test_a_wrong_statement_is_charged_to_nobody(shop: Hooked) -> None:
    with requested("GET") as request, pytest.raises(DBAPIError):
        await shop.run(lambda connection: connection.execute(text("SELECT nonsense")))

    assert (request.ledger.fault, request.ledger.lost) == (None, None)


async def together(shop: Hooked, number: int) -> list[object]:
    """Read on *number* connections at the same time."""
    return list(await asyncio.gather(*(shop.run(slow_read) for _ in range(number))))


def slow_read(connection: Connection) -> object:
    return connection.scalar(text("SELECT 1 FROM pg_sleep(0.2)"))


async def test_after_a_restart_every_dead_connection_is_replaced_without_an_error(
    flavour: Flavour, registry: Registry, postgresql: PostgreSQL
) -> None:
    """DB-4: noticed at checkout; nobody sees an error."""
    async with hooked(flavour, flavour.url(postgresql)) as shop:
        await together(shop, 3)
        assert shop.pool.checkedin() == 3
        await asyncio.to_thread(postgresql.restart, "immediate")
        with requested("POST") as request:
            assert await together(shop, 3) == [1, 1, 1]

        assert (request.ledger.fault, request.ledger.lost) == (None, None)
        assert len(shop.database.links) == 3


async def test_a_connection_that_the_server_ended_is_replaced_without_a_round_trip(
    shop: Hooked, shared_postgresql: PostgreSQL
) -> None:
    """DB-4: the kernel knows; an idle one of less than a second is not even asked."""
    pid = await shop.run(lambda connection: connection.scalar(text("SELECT pg_backend_pid()")))
    shared_postgresql.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
    (link,) = shop.database.links.values()
    await until(link.is_gone)
    link.used_at = time.monotonic() - 0.5  # too short for a ping, long enough for a look

    assert await shop.run(lambda connection: connection.scalar(text("SELECT pg_backend_pid()"))) != pid
    assert link.cut


def nothing(connection: Connection) -> None:
    """Take a connection and give it back."""


async def test_a_connection_that_was_just_used_is_not_pinged(shop: Hooked, way: Proxy) -> None:
    """DB-4: never a ping per query."""
    before = way.counters.upstream
    for _ in range(5):
        (link,) = shop.database.links.values()
        link.used_at = time.monotonic() - 0.5
        await shop.run(nothing)

    assert way.counters.upstream == before


async def test_a_connection_that_lay_idle_for_a_second_is_pinged_once(shop: Hooked, way: Proxy) -> None:
    """DB-4."""
    (link,) = shop.database.links.values()
    link.used_at -= 2
    before = way.counters.upstream
    await shop.run(nothing)
    pinged = way.counters.upstream
    await shop.run(nothing)

    assert before < pinged == way.counters.upstream
    assert list(shop.database.links.values()) == [link]


async def test_an_idle_connection_whose_ping_fails_is_replaced_without_an_error(
    shop: Hooked, way: Proxy
) -> None:
    (link,) = shop.database.links.values()
    link.used_at -= 2
    way.cut_when(lambda data: b";" in data, before=True)
    with requested("POST") as request:
        assert await shop.run(read) == 1

    assert link.cut
    assert request.ledger.fault is None
    assert way.counters.cuts == 1


async def test_what_was_opened_before_an_outage_is_replaced_after_it(shop: Hooked) -> None:
    """DB-6: the pool is refreshed, each connection as it is asked for."""
    (link,) = shop.database.links.values()
    shop.database.generation += 1

    assert await shop.run(read) == 1
    assert link.cut
    assert [one.generation for one in shop.database.links.values()] == [1]


async def test_a_prepared_transaction_whose_commit_is_lost_is_in_doubt(
    flavour: Flavour, registry: Registry, postgresql: PostgreSQL, name: str
) -> None:
    """TXN-4: in two phases, too."""
    postgresql.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    await asyncio.to_thread(postgresql.restart)
    with postgresql.proxied() as way:
        async with hooked(flavour, flavour.url(postgresql, way)) as shop:

            def work(connection: Connection) -> None:
                transaction = connection.begin_twophase(name)
                insert(connection, name)
                transaction.prepare()
                way.cut_when(lambda data: b"COMMIT PREPARED" in data, before=False)
                transaction.commit()

            with requested("POST", key="k") as request, pytest.raises(DBAPIError):
                await shop.run(work)
            way.heal()

            assert request.ledger.commit is Commit.UNKNOWN
            assert not request.may_run_again()
