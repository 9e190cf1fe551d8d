"""REQ-2, POL-5: no request outlives its deadline, and neither does what it asked of its database."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import pytest
from running import ASYNCPG, PSYCOPG, SYNC, Shop, running

from holdfast.drill.postgresql import PostgreSQL

LIMIT_S = 1.0
STATEMENTS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=lambda one: one.name)
def test_past_its_deadline_a_request_gets_504_and_its_statement_ends(
    shop: Shop, postgresql: PostgreSQL
) -> None:
    """The thread of a sync endpoint cannot be interrupted; the server is asked to end what it waits for."""
    wanted = {**shop.environment(postgresql), "REQUEST_TIMEOUT_MS": str(round(LIMIT_S * 1000))}
    with running(shop, wanted) as one:
        began = time.monotonic()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{one.url}/slow?seconds=20", timeout=15)
        took = time.monotonic() - began
        body = json.load(refused.value)
        refused.value.close()

        assert refused.value.code == 504
        assert body["code"] == "deadline_exceeded"
        assert LIMIT_S <= took < 10
        assert ended(postgresql, within=5)
        with urllib.request.urlopen(f"{one.url}/items/1", timeout=5) as answer:
            assert answer.status == 200


def ended(server: PostgreSQL, within: float) -> bool:
    """Whether nothing sleeps in *server* any more, at the latest *within* seconds from now."""
    give_up_at = time.monotonic() + within
    while time.monotonic() < give_up_at:
        if server.execute(STATEMENTS) == [("0",)]:
            return True
        time.sleep(0.05)
    return False
