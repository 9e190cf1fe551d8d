"""guard gives the original error back, whatever it is made of (POL-7); what servers ask for (POL-3)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

import aiohttp
import httpx
import pytest
from guard_scripts import EXACT, RETRY, Scripted, ScriptedAsync
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from holdfast.policy.retry import Retry


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Sealed(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Hidden(Exception):
    @property
    def retry_after(self) -> float:
        raise RuntimeError("not yet")

    do_not_retry = response = headers = retry_after


def bearing(**attributes: object) -> Exception:
    error = ConnectionError()
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


ODD = [
    Frozen(7),
    Sealed(),
    Hidden(),
    bearing(__notes__=None),
    bearing(__notes__="text"),
    bearing(__notes__=[1, None]),
    bearing(retry_after=10**400),
    bearing(retry_after=float("nan")),
    bearing(headers=7),
    bearing(headers={"Retry-After": "soon"}),
    bearing(headers={"Retry-After": "99 Nov 99999 99:99:99"}),
    bearing(headers={"Retry-After": None}),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"{type(odd).__name__}-{vars(odd)}"[:60])
def test_no_error_is_replaced_by_what_noting_it_raises(make, run, odd) -> None:
    """POL-7: not when it takes no notes, not when what it asks for cannot be read."""
    work, awaited = Scripted(odd, odd), ScriptedAsync(odd, odd)
    rules = Retry(attempts=2, backoff=EXACT, on=Exception)

    with pytest.raises(type(odd)) as caught:
        make(retry=rules)(work)()
    assert (caught.value, work.calls) == (odd, 2)
    with pytest.raises(type(odd)) as caught:
        run(make(retry=rules)(awaited)())
    assert (caught.value, awaited.calls) == (odd, 2)


def test_notes_of_others_stay(make) -> None:
    """POL-7."""
    error = bearing(__notes__=["theirs", 7])
    with pytest.raises(ConnectionError):
        make(retry=RETRY)(Scripted(*[error] * 3))()

    assert error.__notes__[:2] == ["theirs", 7]
    assert error.__notes__[2].startswith("guard 'payments': attempted 3 times")


def from_httpx(asked: str) -> Exception:
    response = httpx.Response(503, headers={"retry-after": asked}, request=httpx.Request("GET", "http://x"))
    return httpx.HTTPStatusError("busy", request=response.request, response=response)


def from_aiohttp(asked: str) -> Exception:
    url, headers = URL("http://x"), CIMultiDictProxy(CIMultiDict({"retry-after": asked}))
    info = aiohttp.RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    return aiohttp.ClientResponseError(info, (), status=503, headers=headers)


class Falsy:
    """As the responses of requests are when the status is an error."""

    def __init__(self, asked: str) -> None:
        self.headers = {"Retry-After": asked}

    def __bool__(self) -> bool:
        return False


def from_requests(asked: str) -> Exception:
    return bearing(response=Falsy(asked))


SOURCES = [from_httpx, from_aiohttp, from_requests]


@pytest.mark.parametrize("source", SOURCES)
def test_retry_after_in_the_headers_of_the_answer_is_honoured(make, clock, source) -> None:
    """POL-3."""
    work = Scripted(source("20"))

    assert make(retry=Retry(backoff=EXACT, on=Exception))(work)() == 7
    assert clock.now == 1020.0


@pytest.mark.parametrize("source", SOURCES)
def test_retry_after_may_be_a_date(make, clock, source) -> None:
    """POL-3: one that is past asks for nothing."""
    work = Scripted(source(formatdate(1012, usegmt=True)), source(formatdate(900, usegmt=True)))

    assert make(retry=Retry(backoff=EXACT, on=Exception))(work)() == 7
    assert clock.now == 1014.0


def test_retry_after_in_headers_past_the_deadline_ends_the_call(make, clock) -> None:
    """POL-2, POL-3."""
    work = Scripted(from_httpx("20"))

    with pytest.raises(httpx.HTTPStatusError) as caught:
        make(timeout=10, retry=Retry(backoff=EXACT, on=Exception))(work)()
    assert (work.calls, clock.now) == (1, 1000.0)
    assert "the deadline comes before the next attempt" in caught.value.__notes__[0]


def test_the_error_s_own_word_goes_before_its_headers(make, clock) -> None:
    """POL-3."""
    error = bearing(retry_after=3, headers={"retry-after": "20"})

    assert make(retry=RETRY)(Scripted(error))() == 7
    assert clock.now == 1003.0
