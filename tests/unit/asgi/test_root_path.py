"""Routes named in settings, behind a proxy that serves the application under a path (PRM-5, REQ-5, JRN-1)."""

from __future__ import annotations

from typing import Any

import pytest
from asgi_stage import Client, scope_of
from journal_house import JournalHouse, order_scope, told_by

from holdfast.asgi.body import Body
from holdfast.asgi.context import request_of
from holdfast.asgi.keys import KeyRules, Keys
from holdfast.asgi.postponing import Postponing
from holdfast.databases.adopt import Registry
from holdfast.policy.routes import Routes


@pytest.mark.parametrize(
    ("root", "path", "patience"),
    [("/api", "/api/orders", 8.0), ("/api", "/orders", 8.0), ("/shop", "/api/orders", None)],
)
async def test_a_journaled_route(root: str, path: str, patience: float | None) -> None:
    replay: Any = None
    postponing = Postponing(replay, JournalHouse().journaling, "/operations/", 8.0)

    scope = order_scope(path=path, root_path=root)
    scope["holdfast"] = request_of(scope, 30.0)

    assert postponing.patience_of(scope) == patience


async def test_who_sent_it_is_told_the_path_it_was_sent_to() -> None:
    _, client = await JournalHouse().sent(order_scope(path="/api/orders", root_path="/api"))

    assert told_by(client)["path"] == "/api/orders"


async def test_a_route_that_wants_a_key() -> None:
    keys = Keys(Registry(), KeyRules(required=Routes(["POST /mail"])))
    request = request_of({**scope_of("POST", "/api/mail"), "root_path": "/api"}, 30.0)

    claimed = await keys.claim(request, b"", Body(request, Client().receive, 100))

    assert claimed == "idempotency_key_missing"
