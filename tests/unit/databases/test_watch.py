"""DB-5, DB-6: the watch against a server that goes away and comes back; its heartbeat; its thread."""

from __future__ import annotations

import asyncio

import pytest
from fake_driver import FakeDriver, FakeSession, Mode
from stand import Stand, a_request

from holdfast.databases.database import Database
from holdfast.databases.monitor import Connected, Disconnected, Drained, Recovering, Suspect
from holdfast.databases.watch import Watch
from holdfast.events import DatabaseLost, DatabaseRecovered, DatabaseSuspected, ReconnectAttempted
from jumping import until


def test_a_lost_connection_to_a_living_server_changes_nothing_for_long(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        stand.driver.latency = 0.02
        stand.database.broken("reset")
        await until(lambda: isinstance(stand.database.state, Suspect))
        await until(lambda: stand.database.settled)

    stand.play(scene)

    assert stand.names() == ["DatabaseSuspected"]
    assert (stand.driver.knocks, stand.driver.logins) == (1, 1)


def test_an_outage_is_told_once_with_its_beginning_and_its_end(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        await stand.lose()
        await asyncio.sleep(5)
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)

    stand.play(scene)

    told = [one for one in stand.told if not isinstance(one, ReconnectAttempted)]
    assert [type(one) for one in told] == [DatabaseSuspected, DatabaseLost, DatabaseRecovered]
    back = told[-1]
    assert isinstance(back, DatabaseRecovered)
    assert back.outage_s == pytest.approx(5.0, abs=0.2)
    assert back.attempts == len([one for one in stand.told if isinstance(one, ReconnectAttempted)]) + 1


def test_the_first_breath_of_a_server_that_refused_is_noticed_within_a_tenth_of_a_second(
    stand: Stand,
) -> None:
    """DB-6."""

    async def scene(stand: Stand) -> None:
        await stand.lose()
        await asyncio.sleep(3)
        stand.driver.turn(Mode.ANSWERS)

        assert await until(lambda: stand.database.settled) < 0.1

    stand.play(scene)


def test_reconnecting_never_gives_up_and_never_hurries(stand: Stand) -> None:
    """DB-6: one prober, about one attempt a second after the first minute, for hours."""

    async def scene(stand: Stand) -> None:
        await stand.lose()
        await asyncio.sleep(3600)
        knocks = stand.driver.knocks
        await asyncio.sleep(600)

        assert 490 <= stand.driver.knocks - knocks <= 760
        assert stand.driver.most_under_way == 1
        stand.driver.turn(Mode.ANSWERS)
        assert await until(lambda: stand.database.settled) < 1.3

    stand.play(scene)


@pytest.mark.parametrize("code", ["53300", "28P01", "28000", "3D000"])
@pytest.mark.parametrize(
    ("session", "connection", "there"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_a_server_that_lets_nobody_new_in_is_there_for_those_who_are(
    stand: Stand, code: str, session: bool, connection: bool, there: bool
) -> None:
    """DB-6: somebody else has its last connections, or our password was changed: those that live can be
    used, and could not be opened again. Without any, requests wait for one."""

    class ShutOutError(Exception):
        sqlstate = code

    async def scene(stand: Stand) -> None:
        await stand.watch.connect(stand.database, 1.0)
        (ours,) = stand.driver.sessions
        ours.lost = not session
        idle = stand.sent(a_request())
        stand.heard(idle)
        idle.out = False
        idle._fileno = None if connection else lambda: -1

        async def refuses() -> FakeSession:
            stand.driver.logins += 1
            raise ShutOutError("not you")

        stand.driver.open = refuses  # type: ignore[method-assign]
        stand.database.broken("reset")
        await until(lambda: stand.driver.logins >= 2)
        await until(lambda: stand.database.settled or stand.database.away)

        assert stand.database.away is not there
        assert idle.cut is not there
        assert ours.closed is not session

    stand.play(scene)


def test_many_losses_at_once_make_one_prober(stand: Stand) -> None:
    """DB-6: one prober a database, never one a request."""

    async def scene(stand: Stand) -> None:
        stand.driver.latency = 0.02
        stand.driver.turn(Mode.REFUSES)
        for _ in range(200):
            stand.database.broken("reset")
        await until(lambda: stand.database.away)
        for _ in range(200):
            stand.database.broken("refused")
        await asyncio.sleep(1)

    stand.play(scene)

    assert stand.driver.most_under_way == 1
    assert stand.driver.knocks < 40
    assert stand.names().count("DatabaseLost") == 1


def test_a_server_that_gives_a_byte_but_lets_nobody_in_is_not_back(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        await stand.lose()
        stand.driver.turn(Mode.STARTS_UP)
        await asyncio.sleep(2)
        assert stand.database.away
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)

    stand.play(scene)


def test_when_it_is_back_what_lies_in_the_pool_is_of_the_past(stand: Stand) -> None:
    """DB-6: the pool is refreshed the instant it succeeds."""

    async def scene(stand: Stand) -> None:
        await stand.lose()
        idle, busy = stand.sent(), stand.sent()
        idle.began, idle.out = 0.0, False
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)

        assert (idle.cut, busy.cut) == (True, False)
        assert stand.database.generation == 1

    stand.play(scene)


def test_the_heart_beats_on_a_connection_of_its_own(stand: Stand) -> None:
    """DB-5: each 30 s when nothing else is heard, and the round trip is measured."""

    async def scene(stand: Stand) -> None:
        stand.driver.latency = 0.02
        await asyncio.sleep(100)

    stand.play(scene)

    assert stand.driver.logins == 1
    assert 3 <= stand.driver.sessions[0].pings <= 5
    assert stand.database.latency_s == pytest.approx(0.02, abs=0.001)
    assert stand.driver.sessions[0].closed


def test_a_database_that_is_used_needs_no_heartbeat(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        for _ in range(100):
            stand.heard(stand.sent())
            await asyncio.sleep(1)

    stand.play(scene)

    assert stand.driver.logins == 0


def test_a_file_needs_no_heartbeat() -> None:
    stand = Stand(driver=FakeDriver(networked=False))

    async def scene(_: Stand) -> None:
        await asyncio.sleep(100)

    stand.play(scene)

    assert (stand.driver.knocks, stand.driver.logins) == (0, 0)


@pytest.mark.parametrize("mode", [Mode.REFUSES, Mode.SILENT])
def test_an_idle_database_that_goes_away_is_noticed_by_its_heartbeat(stand: Stand, mode: Mode) -> None:
    async def scene(stand: Stand) -> None:
        await asyncio.sleep(40)
        stand.driver.turn(mode)

        assert await until(lambda: stand.database.away) < 34

    stand.play(scene)


def test_when_nobody_waits_any_more_it_has_recovered(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        await stand.lose()
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: isinstance(stand.database.state, Recovering))
        stand.watch.report(stand.database, Drained())
        await until(lambda: isinstance(stand.database.state, Connected))

    stand.play(scene)


def test_a_database_that_was_renamed_is_watched_on(stand: Stand) -> None:
    """`Holdfast().database("main", engine)` may come after the engine was found by itself."""

    async def scene(stand: Stand) -> None:
        stand.database.name = "main"
        stand.watch.add(stand.database)
        await stand.lose()
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)

    stand.play(scene)

    assert stand.names().count("DatabaseLost") == 1


@pytest.mark.parametrize("breaks", [True, False], ids=["fails", "is not answered"])
def test_a_login_whose_first_ping_goes_wrong_leaves_no_connection(stand: Stand, breaks: bool) -> None:
    """DB-10: nobody else would close it."""
    opens = stand.driver.open

    async def opened() -> FakeSession:
        session = await opens()
        stand.driver.turn(Mode.ANSWERS if breaks else Mode.SILENT)
        session.lost = breaks
        return session

    async def scene(stand: Stand) -> None:
        stand.driver.open = opened  # type: ignore[method-assign]
        with pytest.raises((ConnectionResetError, TimeoutError)):
            await stand.watch.connect(stand.database, 2.0)

    stand.play(scene)

    assert [one.closed for one in stand.driver.sessions] == [True]


@pytest.mark.parametrize(
    "state", [Suspect(3, 1000.0, "reset", broken=True), Disconnected(3, 1000.0, "refused", attempts=4)]
)
def test_a_doubt_taken_over_from_another_watch_is_settled(
    stand: Stand, state: Suspect | Disconnected
) -> None:
    """DB-6: never starves. A child process, or a second start, inherits the state and not the prober."""
    stand.database.become(state)

    async def scene(stand: Stand) -> None:
        assert await until(lambda: stand.database.settled) < 1.0

    stand.play(scene)


def test_a_loss_reported_to_a_watch_that_does_not_run_shuts_nobody_out(stand: Stand) -> None:
    stand.database.broken("reset")

    assert stand.database.settled


def test_a_listener_that_raises_does_not_end_the_probing(
    stand: Stand, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Database) -> None:
        raise ValueError("a listener's own fault")

    async def scene(stand: Stand) -> None:
        stand.database.listen(broken)
        await stand.lose()
        await asyncio.sleep(1)
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)

        assert stand.database.generation == 1

    stand.play(scene)


def test_no_secret_is_told_with_the_cause(stand: Stand) -> None:
    """DB-9."""

    async def refused() -> None:
        raise ConnectionRefusedError("postgresql://app:hunter2@db:5432/shop refused")

    stand.driver.knock = refused  # type: ignore[method-assign]

    async def scene(stand: Stand) -> None:
        stand.database.broken("reset")
        await until(lambda: stand.database.away)
        await asyncio.sleep(1)

    stand.play(scene)

    assert "postgresql://app:***@db:5432/shop" in stand.database.cause
    assert "hunter2" not in repr((stand.told, stand.database.state, stand.database.last_error))


# ── in its own thread ────────────────────────────────────────────────────────────────────────────


def test_it_runs_in_a_thread_of_its_own_and_ends_with_its_sessions() -> None:
    driver = FakeDriver()
    watch = Watch()
    database = Database("shop", "postgresql://db/shop", driver)
    watch.start()
    watch.start()
    watch.add(database)
    watch.ask(watch.connect(database, 1.0)).result(5)
    thread = watch._thread
    watch.stop()

    assert thread is not None
    assert not thread.is_alive()
    assert [one.closed for one in driver.sessions] == [True]


def test_a_watch_that_was_not_started_says_so() -> None:
    watch = Watch()

    with pytest.raises(RuntimeError, match="has not been started"):
        watch.ask(asyncio.sleep(0))


def test_stopping_what_was_not_started_is_fine() -> None:
    Watch().stop()


def test_a_watch_that_stops_lets_everybody_go() -> None:
    driver = FakeDriver()
    watch = Watch()
    database = Database("shop", "postgresql://db/shop", driver)
    watch.start()
    watch.add(database)
    database.become(Disconnected(3, 0.0, "refused", attempts=1))
    watch.stop()

    assert database.wait_settled(5)
