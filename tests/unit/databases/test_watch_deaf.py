"""DB-12: the server lives, and on one connection it will never answer: who is given up, and who is not."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
from fake_driver import Mode
from stand import BACKEND, Stand, a_request, opens, sent

from holdfast.databases.deaf import deaf
from holdfast.databases.link import Link
from holdfast.databases.looking import Watchfulness
from holdfast.events import ConnectionGivenUp
from jumping import until

RULES = Watchfulness()


def test_a_statement_that_the_server_does_not_work_on_is_given_up(busy: Stand) -> None:
    async def scene(stand: Stand) -> None:
        link = sent(stand)
        stand.driver.waiting = {BACKEND: 30.0}

        assert 1.0 < await until(lambda: link.cut) < 1.3
        assert not stand.database.away

    busy.play(scene)

    (told,) = busy.told
    assert isinstance(told, ConnectionGivenUp)
    assert (told.database, told.server_waits_s) == ("shop", 30.0)
    assert told.outstanding_s == pytest.approx(1.1, abs=0.2)


def test_one_that_it_works_on_is_asked_about_once_a_second_and_left_alone(busy: Stand) -> None:
    async def scene(stand: Stand) -> None:
        link = sent(stand)
        await asyncio.sleep(10)

        assert not link.cut

    busy.play(scene)

    assert 8 <= len(busy.driver.asked) <= 10
    assert busy.driver.asked[0] == [BACKEND]


def test_of_several_hosts_none_is_asked(busy: Stand) -> None:
    """Each numbers its own processes: one that waits could be taken for another's that works."""
    busy.driver.can_knock = False  # type: ignore[misc]

    async def scene(stand: Stand) -> None:
        link = sent(stand)
        stand.driver.waiting = {BACKEND: 30.0}
        await asyncio.sleep(15)

        assert not link.cut

    busy.play(scene)

    assert busy.driver.asked == []


def test_nobody_is_asked_while_everything_is_answered(busy: Stand) -> None:
    """PRM-4."""

    async def scene(stand: Stand) -> None:
        for _ in range(20):
            link = sent(stand)
            await asyncio.sleep(0.5)
            stand.heard(link)

    busy.play(scene)

    assert (busy.driver.asked, busy.driver.logins) == ([], 0)


def test_what_cannot_be_run_again_is_left_alone_as_long_as_anyone_may_wait(busy: Stand) -> None:
    """It may be only late."""

    async def scene(stand: Stand) -> None:
        request = a_request("POST")
        request.ledger.sent = 1
        link = sent(stand, request)
        stand.driver.waiting = {BACKEND: 30.0}

        assert RULES.max_wait < await until(lambda: link.cut) < RULES.max_wait + 1.5

    busy.play(scene)


def test_the_first_statement_of_a_transaction_that_only_reads_is_sent_again(busy: Stand) -> None:
    """The refresh after a COMMIT: the request cannot be run again, and this statement can."""

    async def scene(stand: Stand) -> None:
        request = a_request("POST")
        request.ledger.sent = 2
        link = sent(stand, request)
        link.reads_first = True
        stand.driver.waiting = {BACKEND: 30.0}

        assert 1.0 < await until(lambda: link.cut) < 1.3

    busy.play(scene)


def test_a_question_that_is_not_answered_is_asked_again_on_a_fresh_session(busy: Stand) -> None:
    """Our own session may be the one whose bytes were lost."""

    async def scene(stand: Stand) -> None:
        stand.driver.waiting = {BACKEND: 30.0}
        await stand.watch.connect(stand.database, 1.0)
        stand.driver.turn(Mode.SILENT)
        link = sent(stand)
        await asyncio.sleep(1.5)
        stand.driver.turn(Mode.ANSWERS)

        await until(lambda: link.cut)

    busy.play(scene)

    assert busy.driver.sessions[0].closed
    assert len(busy.driver.sessions) == 2


def test_a_login_that_is_still_out_when_a_later_one_was_let_in_is_lost(busy: Stand) -> None:
    ended: list[float] = []

    async def scene(stand: Stand) -> None:
        opens(stand, ended)
        await asyncio.sleep(1.2)
        opens(stand, ended)  # this one came after: nothing speaks against it
        await asyncio.sleep(0.5)

    busy.play(scene)

    assert [round(one, 1) for one in ended] == [1.4]
    assert busy.driver.logins == 1
    (told,) = busy.told
    assert isinstance(told, ConnectionGivenUp)
    assert told.server_waits_s is None


def test_a_login_to_a_server_that_lets_nobody_in_that_fast_takes_its_time(busy: Stand) -> None:
    """With half a second a round trip, ours would take no less."""
    ended: list[float] = []

    async def scene(stand: Stand) -> None:
        stand.driver.latency = 1.5
        opens(stand, ended)
        await asyncio.sleep(8)

    busy.play(scene)

    assert ended == []


def test_whoever_waits_for_an_exhausted_pool_waits_on(busy: Stand) -> None:
    ended: list[float] = []

    async def scene(stand: Stand) -> None:
        opens(stand, ended, login=False)
        await asyncio.sleep(8)

    busy.play(scene)

    assert (ended, busy.driver.logins) == ([], 0)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    ("waits", "began", "unread", "again", "verdict"),
    [
        (0.0, 10.0, False, True, False),  # it works, or does not know of it
        (0.9, 10.0, False, True, False),  # its answer is on its way
        (1.0, 10.0, True, True, False),  # we are the slow ones
        (1.0, 10.0, False, True, True),
        (1.0, 11.0, False, True, False),  # what was asked about has ended
        (60.0, 10.0, False, False, False),
        (60.0, 0.5, False, False, True),
    ],
)
def test_the_table(
    ends: tuple[socket.socket, socket.socket],
    waits: float,
    began: float,
    unread: bool,
    again: bool,
    verdict: bool,
) -> None:
    ours, theirs = ends
    if unread:
        theirs.sendall(b"C")
        ours.recv(1, socket.MSG_PEEK)
    request = a_request("GET" if again else "POST")
    request.ledger.sent = 1
    link = Link(object(), 0, 0.0, lambda: None, ours.fileno)
    link.request, link.began = request, 10.0 if began == 11.0 else began

    assert deaf(link, began, waits, 12.0, RULES) is verdict


async def test_an_answer_that_comes_in_the_last_moment_is_taken() -> None:
    """A loop that was busy gets a moment to hand it over."""
    link = Link(object(), 0, 0.0, lambda: None, None)
    link.loop, link.began = asyncio.get_running_loop(), 10.0
    told: list[str] = []
    asked = threading.Thread(target=link.abort_unless_answered, args=(10.0, lambda: told.append("given up")))
    asked.start()
    asked.join()
    await asyncio.sleep(0)
    link.began = 0.0  # answered
    await asyncio.sleep(0.5)

    assert (link.cut, told) == (False, [])


def test_a_loop_that_has_ended_is_nobodys_business() -> None:
    link = Link(object(), 0, 0.0, lambda: None, None)
    link.loop, link.began = asyncio.new_event_loop(), 10.0
    link.loop.close()
    link.abort_unless_answered(10.0, lambda: None)

    assert not link.cut
