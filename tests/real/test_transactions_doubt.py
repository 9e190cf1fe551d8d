"""TXN-2, TXN-4: the answer to COMMIT is lost, or its database is away, and each run has its effect once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked import POSTGRESQL, Flavour, isolated, requested, until, watched
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from transacting import Shop, Stock, left, opened, told

from holdfast import CommitOutcomeUnknown, run_transaction
from holdfast.context import MARKER, Marker
from holdfast.databases.adopt import MarkerRules, Registry
from holdfast.databases.database import Database
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits
from holdfast.events import CommitInDoubt
from holdfast.faults.classify import classify
from holdfast.policy.replay import Commit
from holdfast.work.events import TransactionRetried, TransactionRolledBack
from holdfast.work.transactions_retry import DEFAULTS, TransactionRules

every = pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
both = pytest.mark.parametrize("sessions", [False, True], ids=["connection", "session"])
lost = pytest.mark.parametrize("before", [True, False], ids=["commit lost", "answer lost"])


@pytest.fixture
def marking() -> bool:
    return True


@pytest.fixture
def registry(marking: bool) -> Iterator[Registry]:
    with isolated() as registry, watched(registry):
        registry.markers = MarkerRules(active=marking)
        yield registry


@pytest.fixture
def way(shared_postgresql: PostgreSQL) -> Iterator[Proxy]:
    with shared_postgresql.proxied() as proxy:
        yield proxy


@pytest.fixture
async def shop(
    flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL, way: Proxy, tmp_path: Path
) -> AsyncIterator[Shop]:
    """Behind the proxy, watched, its marker table there."""
    async with opened(flavour, shared_postgresql, tmp_path, way.port) as shop:
        await shop.run(lambda made: made.execute(text("SELECT 1")))
        try:
            yield shop
        finally:
            way.heal()


def known(shop: Shop) -> Database:
    database: Database = shop.sync_engine._holdfast_hooks.database
    return database


class Take:
    """Work that takes one from stock, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.attempts = 0

    def __call__(self, made: Connection | Session) -> int:
        self.attempts += 1
        made.execute(Stock.__table__.update().where(Stock.id == 1).values(left=Stock.left - 1))
        return left(made)


@every
@both
@lost
async def test_ten_commits_lost_are_ten_runs_each_exactly_once(
    shop: Shop, way: Proxy, before: bool, sessions: bool
) -> None:
    """TXN-4: committed is success, rolled back is run again."""
    works = [Take() for _ in range(10)]
    for number, work in enumerate(works):
        way.cut_when(commits, before=before)
        assert await shop.run(work, sessions=sessions) == 9 - number

    assert way.counters.cuts == 10
    assert [work.attempts for work in works] == [2 if before else 1] * 10
    assert await shop.once(left) == 0


@every
@both
async def test_a_block_whose_commit_was_lost_is_all_or_nothing(
    shop: Shop, way: Proxy, sessions: bool
) -> None:
    way.cut_when(commits, before=False)
    assert await shop.once(Take(), sessions=sessions) == 9
    assert await shop.once(left) == 9

    way.cut_when(commits, before=True)
    with told(TransactionRolledBack) as rolled_back, pytest.raises(DBAPIError) as raised:
        await shop.once(Take(), sessions=sessions)

    assert classify(raised.value).lost
    assert len(rolled_back) == 1
    assert await shop.once(left) == 9


@every
@both
@lost
@pytest.mark.parametrize("marking", [False], ids=["no marker"])
@pytest.mark.parametrize("again", [False, True], ids=["transaction", "run_transaction"])
async def test_what_nobody_can_tell_is_told_and_never_run_again(
    shop: Shop, way: Proxy, before: bool, sessions: bool, again: bool
) -> None:
    work = Take()
    way.cut_when(commits, before=before)
    with (
        told(TransactionRolledBack) as rolled_back,
        told(CommitInDoubt) as doubts,
        pytest.raises(CommitOutcomeUnknown, match="is not known") as raised,
    ):
        await (shop.run if again else shop.once)(work, sessions=sessions)

    assert raised.value.database == "shop"
    assert isinstance(raised.value.__cause__, DBAPIError)
    assert (work.attempts, len(rolled_back), len(doubts)) == (1, 0, 1)
    assert await shop.once(left) == (10 if before else 9)


@every
@pytest.mark.parametrize("marking", [False], ids=["no marker"])
async def test_an_unknown_outcome_is_not_run_again_from_outside(shop: Shop, way: Proxy) -> None:
    """TXN-4: a transaction round a transaction sees a lost connection in its cause, and leaves it."""
    work, rounds = Take(), []
    way.cut_when(commits, before=False)
    if shop.flavour.is_async:

        async def outer(_: Any) -> None:
            rounds.append(1)
            await shop.run(work)

        with pytest.raises(CommitOutcomeUnknown):
            await run_transaction(shop.engine, outer)
    else:

        def outer_in_thread(_: Any) -> None:
            rounds.append(1)
            run_transaction(shop.engine, work)

        with pytest.raises(CommitOutcomeUnknown):
            await asyncio.to_thread(run_transaction, shop.engine, outer_in_thread)

    assert (len(rounds), work.attempts) == (1, 1)
    assert await shop.once(left) == 9


@every
@pytest.mark.parametrize("marking", [False], ids=["no marker"])
async def test_a_transaction_that_only_read_leaves_no_doubt(shop: Shop, way: Proxy) -> None:
    """Its COMMIT is lost, and it is read again."""
    way.cut_when(commits, before=False)

    assert await shop.run(left) == 10
    assert way.counters.cuts == 1


@every
@lost
async def test_a_requests_own_marker_is_used(shop: Shop, way: Proxy, before: bool) -> None:
    """TXN-4: what is asked is what its key stands for."""
    work, key = Take(), secrets.token_hex(32)
    with requested("POST", key="k") as request:
        request.marker = marker = Marker(key, "print")
        way.cut_when(commits, before=before)
        await shop.run(work)

    assert MARKER.get() is None
    ends = [Commit.ROLLED_BACK, Commit.COMMITTED] if before else [Commit.COMMITTED]
    assert (marker.ends, marker.take(), marker.database) == (ends, 1, "shop")
    found = f"SELECT fingerprint FROM holdfast_idempotency WHERE key = '{key}'"
    assert await shop.once(lambda made: list(made.execute(text(found)).scalars())) == ["print"]


@every
@pytest.mark.parametrize("kind", ["transaction", "run_transaction"])
async def test_a_marker_is_in_force_only_inside(shop: Shop, kind: str) -> None:
    seen: list[Marker | None] = []

    def work(_: Any) -> None:
        seen.append(MARKER.get())

    for _ in range(2):
        await (shop.run if kind == "run_transaction" else shop.once)(work)

    assert len({one.key for one in seen if one is not None}) == 2
    assert MARKER.get() is None


@every
async def test_while_its_database_is_away_it_waits_and_no_attempt_is_burned(shop: Shop, way: Proxy) -> None:
    """TXN-2: a second of absence takes two attempts, the one that lost its connection and one more."""
    work = Take()
    ended: list[float] = []

    def losing(made: Connection) -> int:
        taken = work(made)
        if work.attempts == 1:
            way.refuse()
            way.reset_all()
        left(made)
        return taken

    async def heal() -> None:
        await until(lambda: known(shop).away)
        await asyncio.sleep(1)
        ended.append(work.attempts)
        way.heal()

    with told(TransactionRetried) as retried:
        healing = asyncio.ensure_future(heal())
        assert await shop.run(losing, attempts=2) == 9
        await healing

    assert (ended, work.attempts) == ([1], 2)
    assert [one.delay_s >= 0.9 for one in retried] == [True]
    assert await shop.once(left) == 9


@every
async def test_a_request_that_can_be_run_again_leaves_the_waiting_to_the_door(shop: Shop, way: Proxy) -> None:
    """TXN-2, REQ-2: a GET is refused at once, and run again whole."""
    way.refuse()
    way.reset_all()
    known(shop).broken("reset")
    await until(lambda: known(shop).away)
    work = Take()
    with requested("GET"), told(TransactionRetried) as retried, pytest.raises(DBAPIError, match="is away"):
        await shop.run(work)

    assert (work.attempts, retried) == (0, [])
    way.heal()
    await until(lambda: known(shop).settled)


@every
async def test_lost_connections_ask_the_retry_budget_and_races_do_not(
    shop: Shop, way: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POL-3, TXN-2: races are no overload."""
    monkeypatch.setattr("holdfast.work.transactions_retry.PROCESS_BUDGET", Spent())
    monkeypatch.setattr(DEFAULTS, "rules", TransactionRules(attempts=5, base_delay=0.0))
    work = Take()

    def losing(made: Connection) -> None:
        work(made)
        way.reset_all()
        left(made)

    with pytest.raises(DBAPIError) as raised:
        await shop.run(losing)

    assert work.attempts == 1
    assert "the retry budget is spent" in raised.value.__notes__[-1]

    def racing(made: Connection) -> None:
        if work(made) and work.attempts < 5:
            made.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$"))

    work.attempts = 0
    await shop.run(racing)
    assert work.attempts == 5


class Spent:
    """A budget with nothing in it."""

    calls = 0

    def take(self) -> bool:
        return False
