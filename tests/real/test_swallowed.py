"""REQ-4, TXN-4: an answer of success that hides what its application has lost."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from running import Running, Shop, running

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy, commits

CARELESS = Shop("careless", "careless_shop:app", "asyncpg")


@pytest.fixture
def shop(postgresql: PostgreSQL, proxy: Proxy) -> Iterator[Running]:
    with running(CARELESS, CARELESS.environment(postgresql, proxy.port)) as one:
        assert ask(one, "warm@example.com", "warm")[0] == 201
        yield one


def ask(shop: Running, email: str, key: str | None) -> tuple[int, str | None]:
    """Status, and the code of a problem or whether the answer is an old one."""
    headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
    data = json.dumps({"email": email}).encode()
    request = urllib.request.Request(f"{shop.url}/swallowed", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers.get("idempotent-replayed")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.status, json.load(refused)["code"]


def rows(server: PostgreSQL, email: str) -> int:
    return len(server.execute(f"SELECT 1 FROM customers WHERE email = '{email}'"))


def test_with_a_key_it_is_done_after_all_once(shop: Running, postgresql: PostgreSQL, proxy: Proxy) -> None:
    proxy.cut_when(commits, before=True)

    assert ask(shop, "ann@example.com", "k") == (201, None)
    assert ask(shop, "ann@example.com", "k") == (201, "true")
    assert proxy.counters.cuts == 1
    assert rows(postgresql, "ann@example.com") == 1


@pytest.mark.parametrize("before", [True, False], ids=["commit lost", "answer lost"])
def test_without_a_key_it_is_told(shop: Running, postgresql: PostgreSQL, proxy: Proxy, before: bool) -> None:
    proxy.cut_when(commits, before=before)

    assert ask(shop, "ann@example.com", None) == (503, "commit_outcome_unknown")
    assert rows(postgresql, "ann@example.com") == (0 if before else 1)


def test_an_error_of_graphql_is_an_error(shop: Running, proxy: Proxy) -> None:
    """Nothing had been sent when no connection could be made: it waits and is run again."""
    proxy.refuse()
    proxy.reset_all()
    healing = threading.Timer(1.0, proxy.heal)
    healing.start()
    request = urllib.request.Request(f"{shop.url}/graphql", b"{}", {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        told = json.load(answer)
    healing.join()

    assert told == {"data": {"customers": 1}}
