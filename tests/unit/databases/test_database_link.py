"""One connection seen from outside: alive or not without a round trip, and when it may be ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from holdfast.context import Request
from holdfast.databases.link import Link
from holdfast.databases.wire import keep_alive, shutting_down


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection, ours first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        ours.settimeout(5)
        theirs.settimeout(5)
        yield ours, theirs


class Aborts:
    """Counts how often a connection was ended."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def link(ours: socket.socket | None = None, request: Request | None = None) -> Link:
    one = Link(object(), 0, 0.0, Aborts(), None if ours is None else ours.fileno)
    one.request = request
    return one


def a_request(method: str = "GET") -> Request:
    return Request("id", method, "/", arrived_at=0.0, deadline_at=30.0)


def test_a_connection_that_works_is_not_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    assert not link(ends[0]).is_gone()


def test_bytes_that_wait_to_be_read_are_no_sign_of_death(ends: tuple[socket.socket, socket.socket]) -> None:
    """DB-4: a notice from the server, say."""
    ours, theirs = ends
    theirs.sendall(b"N")
    ours.recv(1, socket.MSG_PEEK)

    assert not link(ours).is_gone()


def test_what_the_other_side_has_closed_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    """DB-4: noticed without a round trip."""
    ours, theirs = ends
    theirs.close()
    ours.recv(1, socket.MSG_PEEK)  # returns when the end has arrived

    assert link(ours).is_gone()


def test_last_words_do_not_hide_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    """A server that stops says why before it hangs up: bytes are waiting, and it is gone all the same."""
    ours, theirs = ends
    theirs.sendall(b"FATAL: terminating connection")
    theirs.shutdown(socket.SHUT_WR)
    while len(ours.recv(64, socket.MSG_PEEK)) < len(b"FATAL: terminating connection"):
        pass

    assert link(ours).is_gone()


def test_what_we_have_closed_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    one = link(ours)
    ours.close()

    assert one.is_gone()


def test_without_a_socket_only_our_own_cut_is_known() -> None:
    one = link()
    before = one.is_gone()
    one.abort()

    assert (before, one.is_gone()) == (False, True)


def test_it_is_ended_once() -> None:
    aborts = Aborts()
    one = Link(object(), 0, 0.0, aborts, None)
    one.abort()
    one.abort()

    assert aborts.count == 1


@pytest.mark.parametrize(
    ("request_", "committing", "expected"),
    [
        (None, False, False),  # a job's: nobody runs it again
        (a_request("GET"), False, True),
        (None, True, False),
        (a_request("GET"), True, False),
    ],
)
def test_what_loses_nothing_may_be_cut(request_: Request | None, committing: bool, expected: bool) -> None:
    """TXN-4: never a COMMIT on its way, whoever it belongs to."""
    one = link(request=request_)
    one.out = True
    one.committing = committing

    assert one.may_be_cut() is expected


@pytest.mark.parametrize(("out", "pinging"), [(False, False), (True, True)])
def test_what_is_not_at_work_for_anybody_may_be_cut(out: bool, pinging: bool) -> None:
    """DB-12: one that is idle, and one that is only pinged."""
    one = link()
    one.out, one.pinging = out, pinging

    assert one.may_be_cut()


def test_a_ping_may_be_cut_whomever_it_is_for() -> None:
    """DB-12: it carries nothing, and who waits for it gets another connection."""
    request = a_request("POST")
    request.ledger.sent = 1
    one = link(request=request)
    one.pinging = True

    assert one.may_be_cut()


def test_a_request_that_cannot_be_run_again_is_not_cut() -> None:
    request = a_request("POST")
    request.ledger.sent = 1

    assert not link(request=request).may_be_cut()


def test_shutting_down_wakes_both_ends(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    shutting_down(ours.fileno)()

    assert (ours.recv(1), theirs.recv(1)) == (b"", b"")


def test_a_descriptor_that_is_somebody_else_s_by_now_is_left_alone(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = ends
    fd = ours.fileno()
    shut_down = shutting_down(lambda: fd)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.close()
    taken = socket.socket(fileno=other.detach())
    if taken.fileno() != fd:  # the system gave it another: make it the very same
        os.dup2(taken.fileno(), fd)
        taken.close()
        taken = socket.socket(fileno=fd)
    with taken, peer:
        shut_down()
        peer.sendall(b"alive")

        assert taken.recv(5) == b"alive"


def test_a_closed_descriptor_is_left_alone(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    shut_down = shutting_down(ours.fileno)
    ours.close()
    shut_down()

    assert ours.fileno() == -1


def test_what_is_no_socket_is_nothing_to_shut_down() -> None:
    """A connection that was lost while it was being set up has no descriptor any more."""
    shutting_down(lambda: -1)()
    keep_alive(-1)


def test_the_kernel_is_told_to_notice_a_peer_that_vanished(ends: tuple[socket.socket, socket.socket]) -> None:
    """DB-3: keepalive and TCP_USER_TIMEOUT, so that sleep and silent drops end."""
    ours, _ = ends
    keep_alive(ours.fileno())

    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
    assert ours.fileno() >= 0


def test_a_local_socket_is_left_as_it_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        keep_alive(ours.fileno())

        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
