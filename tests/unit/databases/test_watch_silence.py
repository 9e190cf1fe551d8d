"""DB-12: silence is a symptom, duration is none; who is cut then, who may go on waiting."""

from __future__ import annotations

import asyncio

import pytest
from fake_driver import FakeSession, Mode
from stand import Stand, a_request

from holdfast.clock import within
from holdfast.databases.link import Opening
from holdfast.databases.monitor import Suspect
from jumping import until


def test_a_black_hole_is_noticed_in_about_two_seconds(stand: Stand) -> None:
    """DB-12: a second of silence, a second for the knock."""

    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.SILENT)
        stand.sent(a_request())

        assert 1.9 < await until(lambda: stand.database.away) < 2.3

    stand.play(scene)


def test_a_blocked_thread_returns_when_the_database_falls_silent(stand: Stand) -> None:
    """DB-12: a task costs nothing while it waits, a thread is needed elsewhere."""

    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.SILENT)
        thread, task = stand.sent(a_request(), blocks=True), stand.sent(a_request())
        await until(lambda: stand.database.away)

        assert (thread.cut, task.cut) == (True, False)

    stand.play(scene)


def test_a_commit_in_silence_is_never_cut_when_the_outage_begins(stand: Stand) -> None:
    """TXN-4: its answer may only be delayed; to cut it would make a doubt where none need be."""

    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.SILENT)
        link = stand.sent(a_request("POST"), blocks=True)
        link.committing = True
        await until(lambda: stand.database.away)

        assert not link.cut

    stand.play(scene)


def test_whoever_is_opening_a_connection_is_let_go_when_it_falls_silent(stand: Stand) -> None:
    ended: list[str] = []

    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.SILENT)
        stand.database.connecting[1] = Opening(stand.clock.now, lambda: ended.append("ended"))
        await until(lambda: stand.database.away)

    stand.play(scene)

    assert ended == ["ended"]


def test_a_slow_query_on_a_living_server_is_left_alone(stand: Stand) -> None:
    """DB-12: silence counts, not duration; a knock a second finds out."""

    async def scene(stand: Stand) -> None:
        link = stand.sent(a_request())
        await asyncio.sleep(60)

        assert not link.cut
        assert not stand.database.away

    stand.play(scene)

    assert stand.names() == []
    assert 40 < stand.driver.knocks < 61


def test_a_slow_server_that_speaks_is_alive(stand: Stand) -> None:
    """A probe with a limit on its duration would call this dead: the connect alone takes over a second."""

    async def scene(stand: Stand) -> None:
        stand.driver.latency = 0.9
        for _ in range(10):
            stand.database.broken("reset")
            stand.sent(a_request())
            await asyncio.sleep(5)
            assert not stand.database.away

    stand.play(scene)

    assert "DatabaseLost" not in stand.names()


def test_what_completes_meanwhile_ends_the_suspicion(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.SILENT)
        link = stand.sent(a_request())
        await until(lambda: isinstance(stand.database.state, Suspect))
        stand.heard(link)

        assert await until(lambda: stand.database.settled) < 0.2

    stand.play(scene)


def test_the_first_breath_after_silence_is_noticed_soon(stand: Stand) -> None:
    """DB-6: knocks into silence overlap, so a lost one costs nobody its time-out."""

    async def scene(stand: Stand) -> None:
        stand.driver.turn(Mode.SILENT)
        link = stand.sent(a_request(), blocks=True)
        await until(lambda: stand.database.away)
        stand.heard(link)
        await asyncio.sleep(8)
        stand.driver.turn(Mode.ANSWERS)

        assert await until(lambda: stand.database.settled) < 0.4

    stand.play(scene)

    assert stand.driver.most_under_way <= 8
    assert stand.driver.under_way == 0


@pytest.mark.parametrize(("method", "grace"), [("GET", 0.3), ("POST", 1.0)])
def test_what_was_sent_before_an_outage_gets_a_moment_after_it(
    stand: Stand, method: str, grace: float
) -> None:
    """Bytes that were only delayed are delivered now; what can be run again need not wait for long."""

    async def scene(stand: Stand) -> None:
        request = a_request(method)
        request.ledger.sent = 1
        stand.driver.turn(Mode.SILENT)
        link = stand.sent(request)
        await until(lambda: stand.database.away)
        stand.driver.turn(Mode.ANSWERS)
        await until(lambda: stand.database.settled)
        waited = await until(lambda: link.cut)

        assert grace - 0.05 < waited < grace + 0.25
        assert request.held_for > 2.0

    stand.play(scene)


def test_what_nobody_may_run_again_is_left_alone_as_long_as_anyone_may_wait(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        request = a_request("POST")
        request.ledger.sent = 1
        stand.driver.turn(Mode.SILENT)
        link = stand.sent(request)

        assert 10.0 < await until(lambda: link.cut) < 10.7

    stand.play(scene)


def test_a_ping_that_the_living_server_left_unanswered_ends_its_connection(stand: Stand) -> None:
    """DB-4: a pooled connection that a firewall forgot."""

    async def scene(stand: Stand) -> None:
        link = stand.sent(a_request())
        link.pinging = True

        assert await until(lambda: link.cut) < 1.5
        assert not stand.database.away

    stand.play(scene)


def test_a_login_of_ours_that_a_moments_silence_takes_costs_a_second(stand: Stand) -> None:
    """DB-12: others are begun beside it; one that is lost would hold everybody for its whole time-out."""

    async def scene(stand: Stand) -> None:
        lost = asyncio.Event()
        open_ = stand.driver.open

        async def swallowed() -> FakeSession:
            stand.driver.open = open_  # type: ignore[method-assign]
            stand.driver.logins += 1
            await lost.wait()
            raise AssertionError

        stand.driver.open = swallowed  # type: ignore[method-assign]
        stand.database.broken("reset")
        await until(lambda: stand.driver.logins)
        assert await until(lambda: stand.database.settled) < 1.5

        assert stand.driver.logins == 2
        assert len(stand.driver.sessions) == 1

    stand.play(scene)


def test_a_server_that_takes_its_time_is_asked_once(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        stand.driver.latency = 0.9  # of a login, and again of the question after it
        await stand.watch.connect(stand.database, 10.0)
        stand.database.broken("reset")
        await until(lambda: stand.database.settled)

        assert stand.driver.logins == 2
        assert stand.driver.most_under_way == 1
        assert stand.names() == ["DatabaseSuspected"]

    stand.play(scene)


def test_two_logins_of_ours_that_get_in_at_once_leave_one_session(stand: Stand) -> None:
    async def scene(stand: Stand) -> None:
        both = asyncio.Event()
        open_ = stand.driver.open

        async def held() -> FakeSession:
            await both.wait()
            return await open_()

        stand.driver.open = held  # type: ignore[method-assign]
        stand.database.broken("reset")
        await asyncio.sleep(1.5)
        both.set()
        await until(lambda: stand.database.settled)
        await asyncio.sleep(1)

        assert len(stand.driver.sessions) == 2
        assert [one.closed for one in stand.driver.sessions].count(False) == 1

    stand.play(scene)


async def test_what_comes_when_nobody_wants_it_any_more_is_undone() -> None:
    undone: list[str] = []

    async def undo(result: str) -> None:
        undone.append(result)

    wanted = asyncio.get_running_loop().create_future()

    async def work() -> str:
        await wanted
        return "session"

    doing = asyncio.ensure_future(within(60.0, work(), undo))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    wanted.set_result(None)
    await asyncio.sleep(0)  # it is done, and whoever awaits it has not been told
    doing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await doing
    assert undone == ["session"]
