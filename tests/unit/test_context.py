"""The request under way: what its ledger adds up to, and when it may be run again (REQ-4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from holdfast import context
from holdfast.context import REQUEST, Ledger, Request, _Strays
from holdfast.policy.replay import Commit


@pytest.fixture(autouse=True)
def strays(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Strays]:
    """Strays of this test's own: the process's may be counted by anybody."""
    ours = _Strays()
    monkeypatch.setattr(context, "STRAYS", ours)
    return ours


def a_request(method: str = "POST", key: str | None = None, kind: str = "http") -> Request:
    return Request("id", method, "/orders", arrived_at=0.0, deadline_at=30.0, key=key, kind=kind)


def test_a_new_ledger_knows_of_nothing() -> None:
    ledger = Ledger()

    assert (ledger.sent, ledger.attempts, ledger.open_writes) == (0, 0, 0)
    assert (ledger.fault, ledger.error, ledger.lost) == (None, None, None)
    assert ledger.commit is Commit.NONE


def test_a_commit_on_its_way_is_in_doubt() -> None:
    """TXN-4: in doubt from the moment it is sent, not only once it has failed."""
    ledger = Ledger()
    ledger.pending = 1

    assert ledger.commit is Commit.SENT


def test_a_commit_on_its_way_is_worse_than_one_that_arrived() -> None:
    ledger = Ledger()
    ledger.settle(Commit.COMMITTED)
    ledger.pending = 1

    assert ledger.commit is Commit.SENT


def test_a_doubt_of_before_outlives_the_commit_on_its_way() -> None:
    ledger = Ledger()
    ledger.settle(Commit.UNKNOWN)
    ledger.pending = 1

    assert ledger.commit is Commit.UNKNOWN


@pytest.mark.parametrize("later", [Commit.ROLLED_BACK, Commit.COMMITTED, Commit.NONE])
def test_a_later_transaction_never_takes_a_doubt_away(later: Commit) -> None:
    ledger = Ledger()
    ledger.settle(Commit.UNKNOWN)
    ledger.settle(later)

    assert ledger.commit is Commit.UNKNOWN


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_a_safe_method_is_safe(method: str) -> None:
    assert a_request(method).safe


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "get"])
def test_any_other_method_is_not(method: str) -> None:
    """Methods are case-sensitive (RFC 9110, section 9.1)."""
    assert not a_request(method).safe


def sent(request: Request) -> None:
    request.ledger.sent = 1


def committed(request: Request) -> None:
    request.ledger.sent = 1
    request.ledger.settle(Commit.COMMITTED)


def committing(request: Request) -> None:
    request.ledger.sent = 1
    request.ledger.pending = 1


def started(request: Request) -> None:
    request.started = True


def body_lost(request: Request) -> None:
    request.body_whole = False


def nothing(request: Request) -> None:
    pass


@pytest.mark.parametrize(
    ("what", "get", "keyed", "plain"),
    [
        (nothing, True, True, True),
        (sent, True, True, False),
        (committed, True, False, False),
        (committing, False, False, False),
        (started, False, False, False),
        (body_lost, False, False, False),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_a_request_fills_in_the_record_of_the_rule(
    what: Callable[[Request], None], get: bool, keyed: bool, plain: bool
) -> None:
    requests = a_request("GET"), a_request("POST", key="k"), a_request("POST")
    for request in requests:
        what(request)

    assert [one.may_run_again() for one in requests] == [get, keyed, plain]


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "background"])
def test_only_an_http_request_can_be_run_again(kind: str) -> None:
    assert not a_request("GET", kind=kind).may_run_again()


def test_an_empty_key_is_a_key() -> None:
    """Whether it is a good one is for the code that reads it; here only None is none."""
    request = a_request(key="")
    sent(request)

    assert request.may_run_again()


@pytest.mark.parametrize(("method", "key", "expected"), [("GET", None, True), ("POST", "k", False)])
def test_a_statement_that_nobody_can_be_charged_with_might_be_ours(
    strays: _Strays, method: str, key: str | None, expected: bool
) -> None:
    """While a stray write is about, only what is safe may be run again."""
    request = a_request(method, key)
    strays.add()

    assert request.may_run_again() is expected


def test_strays_of_before_the_attempt_are_none_of_it(strays: _Strays) -> None:
    strays.add()
    request = a_request()

    assert request.may_run_again()


def test_a_new_attempt_has_a_new_ledger_and_owes_nothing(strays: _Strays) -> None:
    request = a_request()
    sent(request)
    strays.add()
    request.ledger = Ledger()

    assert request.may_run_again()


def test_outside_any_request_there_is_none() -> None:
    assert REQUEST.get() is None
