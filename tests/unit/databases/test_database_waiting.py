"""One database: who may go, who waits for it, and how those are woken, from any thread and loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from fake_driver import FakeDriver

from holdfast.databases.database import Database
from holdfast.databases.monitor import Broken, Connected, Disconnected, Happening, Recovering, Suspect
from jumping import JumpingClock

CONNECTED = Connected(0, 0.0)
SUSPECT = Suspect(1, 0.0, "reset", broken=True)
AWAY = Disconnected(2, 0.0, "refused", attempts=1)
RECOVERING = Recovering(3, 0.0, lost_at=0.0, attempts=1)
SOON = 5.0


@pytest.fixture
def database() -> Database:
    return Database("shop", "postgresql://app:***@db/shop", FakeDriver(), JumpingClock())


def test_a_database_is_taken_to_be_there_until_it_is_seen_otherwise(database: Database) -> None:
    assert (database.state_name, database.away, database.settled) == ("connected", False, True)


@pytest.mark.parametrize(
    ("state", "name", "away", "settled"),
    [
        (CONNECTED, "connected", False, True),
        (SUSPECT, "suspect", False, False),
        (AWAY, "disconnected", True, False),
        (RECOVERING, "recovering", False, True),
    ],
)
def test_what_each_state_means_to_requests(
    database: Database,
    state: Connected | Suspect | Disconnected | Recovering,
    name: str,
    away: bool,
    settled: bool,
) -> None:
    database.become(state)

    assert (database.state_name, database.away, database.settled) == (name, away, settled)


def test_the_cause_and_the_beginning_are_known_while_it_is_away(database: Database) -> None:
    database.become(Disconnected(2, 17.0, "refused", attempts=1))

    assert (database.cause, database.away_since) == ("refused", 17.0)


def test_nothing_speaks_against_a_database_that_is_there(database: Database) -> None:
    assert (database.cause, database.away_since) == ("", None)


def test_a_loss_is_doubted_at_once_and_told_to_the_watch(database: Database) -> None:
    """A request that follows in the same instant must not go."""
    told: list[Happening] = []
    database.watched_by(lambda _, happening: told.append(happening))
    database.broken("reset")

    assert told == [Broken("reset")]
    assert (database.doubted, database.settled, database.last_error) == (True, False, "reset")


def test_a_loss_that_nobody_judges_is_only_remembered(database: Database) -> None:
    database.broken("reset")

    assert (database.settled, database.last_error) == (True, "reset")


def test_when_nobody_watches_any_more_nothing_is_away(database: Database) -> None:
    """Nobody would ever see it come back."""
    woken: list[str] = []
    database.watched_by(lambda *_: None)
    database.broken("reset")
    database.become(AWAY)
    database.when_settled(lambda: woken.append("woken"))
    database.watched_by(None)

    assert (database.away, database.settled, woken) == (False, True, ["woken"])


def test_whoever_may_go_is_not_kept(database: Database) -> None:
    woken: list[str] = []
    database.when_settled(lambda: woken.append("woken"))

    assert woken == ["woken"]


def test_the_waiting_are_woken_once_in_order_when_it_is_back(database: Database) -> None:
    """DB-6: in order."""
    woken: list[int] = []
    database.become(AWAY)
    for number in range(5):
        database.when_settled(lambda number=number: woken.append(number))
    database.become(Disconnected(2, 0.0, "refused", attempts=2))
    before = list(woken)
    database.become(RECOVERING)
    database.become(CONNECTED)

    assert (before, woken) == ([], [0, 1, 2, 3, 4])


def test_whoever_takes_it_back_is_not_woken(database: Database) -> None:
    woken: list[str] = []
    database.become(AWAY)
    forget = database.when_settled(lambda: woken.append("woken"))
    forget()
    forget()
    database.become(RECOVERING)

    assert woken == []


def test_a_doubt_keeps_the_waiting_even_if_the_state_is_good(database: Database) -> None:
    database.watched_by(lambda *_: None)
    database.broken("reset")
    woken: list[str] = []
    database.when_settled(lambda: woken.append("woken"))
    database.become(RECOVERING)

    assert woken == []


def test_when_we_stop_everybody_goes(database: Database) -> None:
    woken: list[str] = []
    database.become(AWAY)
    database.when_settled(lambda: woken.append("before"))
    database.dismiss()
    database.when_settled(lambda: woken.append("after"))

    assert woken == ["before", "after"]
    assert database.wait_settled(SOON) is False


def test_a_thread_waits_no_longer_than_it_may(database: Database) -> None:
    database.become(AWAY)

    assert database.wait_settled(0.01) is False
    assert database._waiters == {}


def test_a_thread_is_let_go_when_it_is_back(database: Database) -> None:
    database.become(AWAY)
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(database.wait_settled(SOON)))
    thread.start()
    until_somebody_waits(database)
    database.become(RECOVERING)
    thread.join(SOON)

    assert results == [True]


def until_somebody_waits(database: Database, number: int = 1) -> None:
    """Return when *number* wait; the thread that waits says so by standing in line."""
    give_up = threading.Event()
    for _ in range(5000):
        if len(database._waiters) >= number:
            return
        give_up.wait(0.001)
    pytest.fail("nobody came to wait")


def test_tasks_of_several_loops_are_let_go_together(database: Database) -> None:
    database.become(AWAY)
    results: list[bool] = []

    def loop() -> None:
        results.append(asyncio.run(database.until_settled(SOON)))

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    until_somebody_waits(database, 3)
    database.become(RECOVERING)
    for thread in threads:
        thread.join(SOON)

    assert results == [True] * 3


async def test_a_task_waits_no_longer_than_it_may(database: Database) -> None:
    database.become(AWAY)

    assert await database.until_settled(0.01) is False
    assert database._waiters == {}


async def test_a_task_that_is_cancelled_leaves_the_line(database: Database) -> None:
    database.become(AWAY)
    task = asyncio.create_task(database.until_settled(None))
    await asyncio.sleep(0)
    assert len(database._waiters) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert database._waiters == {}


def test_a_task_whose_loop_has_ended_disturbs_nobody(database: Database) -> None:
    database.become(AWAY)
    loop = asyncio.new_event_loop()
    task = loop.create_task(database.until_settled(None))
    loop.run_until_complete(asyncio.sleep(0))
    waiters = dict(database._waiters)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    database._waiters.update(waiters)
    database.become(RECOVERING)

    assert database.settled


def test_listeners_hear_every_change_until_they_stop(database: Database) -> None:
    heard: list[str] = []
    stop = database.listen(lambda one: heard.append(one.state_name))
    database.become(AWAY)
    database.become(RECOVERING)
    stop()
    database.become(CONNECTED)

    assert heard == ["disconnected", "recovering"]


def test_a_listener_that_raises_keeps_nobody_from_hearing(
    database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would end the prober, and the database would stay away for good."""
    heard: list[str] = []

    def broken(_: Database) -> None:
        raise ValueError("a listener's own fault")

    database.listen(broken)
    database.listen(lambda one: heard.append(one.state_name))
    database.become(AWAY)

    assert heard == ["disconnected"]


def test_the_pools_of_all_its_engines_are_one(database: Database) -> None:
    database.drivers = [FakeDriver(size=5), FakeDriver(size=7)]

    assert database.pool() == {"size": 12, "idle": 12, "active": 0, "waiting": 0, "max": 12}


def test_the_latest_sign_of_life_is_the_later_of_a_query_and_a_probe(database: Database) -> None:
    database.heard_at, database.vouched_at = 3.0, 5.0

    assert database.known_at() == 5.0
