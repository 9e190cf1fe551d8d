"""What stands before the application: our pages, request ids, sockets, and passing through (REQ-1, PRM-5)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import Client, answers, scope_of, turns
from front_stage import Home
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from holdfast.asgi.front import LONGEST_HEADERS
from holdfast.context import REQUEST


async def mine(request: Any) -> PlainTextResponse:
    return PlainTextResponse("mine")


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An application without a route table: it knows /health and /items."""
    known = scope["path"] in ("/health", "/items")
    await answers(send, 200 if known else 404, b"mine" if known else b"")


# ── our pages ────────────────────────────────────────────────────────────────────────────────────


async def test_our_pages_are_served_where_it_has_none(clock) -> None:
    client = await Home(Starlette(), clock).get("/health")

    assert (client.status, client.problem["service"]) == (200, "alive")
    assert client.headers["cache-control"] == "no-store"
    assert client.headers["content-type"] == "application/json"


async def test_its_own_page_wins_and_ours_stays_reachable(clock) -> None:
    home = Home(Starlette(routes=[Route("/health", mine)]), clock)

    assert (await home.get("/health")).body == b"mine"
    assert (await home.get("/_holdfast/health")).problem["service"] == "alive"
    assert (await home.get("/readyz")).problem["ok"] is True


async def test_a_catch_all_for_a_single_page_application_is_not_a_health_page(clock) -> None:
    home = Home(Starlette(routes=[Route("/{path:path}", mine)]), clock)

    assert (await home.get("/health")).problem["service"] == "alive"
    assert (await home.get("/about")).body == b"mine"


async def test_static_files_at_the_root_are_not_a_health_page(clock, tmp_path) -> None:
    home = Home(Starlette(routes=[Mount("/", StaticFiles(directory=tmp_path, html=True))]), clock)

    assert (await home.get("/health")).problem["service"] == "alive"


async def test_an_application_without_a_table_is_asked_once(clock) -> None:
    asked = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await plain(scope, receive, send)

    home = Home(app, clock)

    assert (await home.get("/health")).body == b"mine"
    assert asked == ["/health", "/health"]  # asked, and served
    for _ in range(3):
        assert (await home.get("/livez")).problem["service"] == "alive"
    assert asked.count("/livez") == 1


async def test_metrics_are_text(clock) -> None:
    client = await Home(Starlette(), clock).get("/_holdfast/metrics")

    assert client.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert client.body == b"metrics 1\n"


async def test_a_head_request_for_a_page_has_no_body(clock) -> None:
    client = await Home(Starlette(), clock).get("/health", method="HEAD")

    assert client.body == b""
    assert int(client.headers["content-length"]) > 10


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/api/health", {"service": "alive"}),
        ("/api/livez", {"service": "alive"}),
        ("/api/api/health", {"ok": True}),
        ("/api/readyz", {"ok": True}),
        ("/api/_holdfast/livez", {"service": "alive"}),
    ],
)
async def test_our_pages_behind_a_proxy_that_serves_it_under_a_path(clock, path: str, told: Any) -> None:
    """HLT-1, HLT-2: the server puts the path that the proxy has taken away before each."""
    client = Client()
    home = Home(Starlette(), clock)
    await home.front({**scope_of(path=path), "root_path": "/api"}, client.receive, client.send)

    assert told.items() <= client.problem.items()


async def test_what_clients_are_told_there_is_the_whole_path(clock) -> None:
    """A problem's instance is where its client finds it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no")

    client = Client()
    scope = {**scope_of(path="/api/orders"), "root_path": "/api"}
    with pytest.raises(RuntimeError):
        await Home(app, clock).front(scope, client.receive, client.send)

    assert client.problem["instance"] == "/api/orders"


# ── request ids ──────────────────────────────────────────────────────────────────────────────────


async def test_an_id_is_returned_as_it_was_given(clock) -> None:
    """REQ-1, property 15."""
    client = await Home(plain, clock).get("/items", x_request_id=b"trace-1")

    assert client.headers["x-request-id"] == "trace-1"


async def test_a_forged_id_is_replaced(clock) -> None:
    client = await Home(plain, clock).get("/items", x_request_id=b"a\nset-cookie: b=1")

    assert len(client.headers["x-request-id"]) == 32


async def test_the_request_is_in_context_and_gone_afterwards(clock) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(REQUEST.get())
        await answers(send)

    await Home(app, clock).get("/items", x_request_id=b"trace-1")

    assert [one.id for one in seen if one is not None] == ["trace-1"]
    assert REQUEST.get() is None


async def test_headers_without_end_are_refused(clock) -> None:
    ran = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ran.append(1)
        await answers(send)

    home = Home(app, clock)

    assert (await home.get("/items", cookie=b"x" * (LONGEST_HEADERS + 1))).status == 431
    assert ran == []
    assert (await home.get("/items", cookie=b"x" * 1000)).status == 200


# ── what is not ours ─────────────────────────────────────────────────────────────────────────────


async def test_wrapped_twice_only_the_outer_one_acts(clock) -> None:
    inner = Home(plain, clock)
    outer = Home(inner.front, clock)

    client = await outer.get("/items")

    assert client.status == 200
    assert [name for name, _ in client.starts[0]["headers"]].count(b"x-request-id") == 1
    assert inner.built == 0


async def test_websockets_pass_with_a_request_in_context(clock) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = REQUEST.get()
        assert request is not None
        seen.append((request.kind, request.id, await receive(), len(home.sockets)))
        await send({"type": "websocket.accept"})

    home = Home(app, clock)
    client = Client()
    client.inbox = asyncio.Queue()
    client.inbox.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"x-request-id", b"w-1")]}
    await asyncio.create_task(home.front(scope, client.receive, client.send))
    await turns()

    assert seen == [("websocket", "w-1", {"type": "websocket.connect"}, 1)]
    assert client.sent == [{"type": "websocket.accept"}]
    assert home.sockets == set()


async def test_lifespan_and_kinds_nobody_knows_yet(clock) -> None:
    passed = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    home = Home(app, clock)
    for kind in ("lifespan", "webtransport"):
        await home.front({"type": kind}, Client().receive, Client().send)

    assert [one["type"] for one in home.lifespans] == ["lifespan"]
    assert passed == ["webtransport"]


async def test_the_state_of_a_lifespan_that_we_drive_reaches_requests(clock) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["state"]["pool"])
        scope["state"]["pool"] = "spoiled"
        await answers(send)

    home = Home(app, clock)
    home.front.state = {"pool": "warm"}

    await home.get("/items")
    await home.get("/items")

    assert seen == ["warm", "warm"]


async def test_a_new_loop_gets_a_stage_of_its_own(clock) -> None:
    home = Home(plain, clock)
    await home.get("/items")
    await asyncio.to_thread(asyncio.run, home.get("/items"))

    assert home.built == 2
    home.front.leave()
    assert home.front.waiting_for("main") == 0


async def test_after_its_lifespan_it_may_be_asked_again(clock) -> None:
    """Tests of an application do that, on one loop."""
    home = Home(plain, clock)
    await home.get("/items")
    home.front.leave()

    assert (await home.get("/items")).status == 200
    assert home.built == 2


async def test_who_comes_when_the_process_leaves_is_refused(clock) -> None:
    """SHD-1: it ran in an application that had shut down, and was cancelled with the loop: a bare 500."""
    home = Home(plain, clock)
    await home.get("/items")
    home.front.leave(for_good=True)
    home.front.leave(for_good=True)
    late = [await home.get("/items"), await home.get("/items", "POST")]

    assert [(one.status, one.problem["code"]) for one in late] == [(503, "shutting_down")] * 2
    assert late[0].headers["connection"] == "close"
    assert home.built == 1
    assert (await home.get("/_holdfast/health")).status == 200


async def test_no_websocket_is_opened_in_an_application_that_shuts_down(clock) -> None:
    """SHD-1."""
    ran: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ran.append(scope)

    home = Home(app, clock)
    home.front.stage().door.lock()
    client = Client()
    await home.front({"type": "websocket", "path": "/chat", "headers": []}, client.receive, client.send)

    assert client.sent == [{"type": "websocket.close", "code": 1012, "reason": "shutting down"}]
    assert ran == []


# ── before the application is there ──────────────────────────────────────────────────────────────


def test_requests_wait_for_an_application_that_is_still_starting(run, clock) -> None:
    """BOOT-2: in development it listens before its database is there."""

    async def story() -> Client:
        home = Home(plain, clock)
        home.front.opened, home.front.opens_within = asyncio.Event(), 10.0
        asking = asyncio.ensure_future(home.get("/items"))
        await asyncio.sleep(5)
        assert not asking.done()
        assert (await home.get("/_holdfast/health")).status == 200
        home.front.opened.set()
        return await asking

    assert run(story()).body == b"mine"


@pytest.mark.parametrize("stopping", [False, True])
def test_and_are_told_when_it_takes_too_long_or_we_stop(run, clock, stopping) -> None:
    async def story() -> Client:
        home = Home(plain, clock)
        home.front.opened, home.front.opens_within = asyncio.Event(), 10.0
        asking = asyncio.ensure_future(home.get("/items"))
        await turns()
        if stopping:
            home.house.door.close()
            home.front.opened.set()
        return await asking

    client = run(story())

    assert client.status == 503
    assert client.problem["code"] == ("shutting_down" if stopping else "starting")
    assert clock.now == (1000.0 if stopping else 1010.0)
