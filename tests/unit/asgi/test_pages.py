"""Our pages before applications of every kind, in good times and bad (HLT-1, HLT-2, PRM-5, REQ-9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import answers, away, back, turns
from front_stage import Home
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

SHOP = b"https://shop.example"


class Tableless:
    """An application without a route table; it needs its database before it answers anything."""

    def __init__(self) -> None:
        self.home: Home
        self.asked: list[str] = []
        self.during = "hangs"
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        if self.home.house.main.settled:
            await answers(send, self.status, b"mine")
        elif self.during == "hangs":
            await asyncio.sleep(3600)
        elif self.during == "raises":
            raise RuntimeError("no")
        else:
            await answers(send, 500)


@pytest.fixture
def app(clock) -> Tableless:
    app = Tableless()
    app.home = Home(app, clock)
    return app


# ── one without a route table ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("during", ["hangs", "raises", "fails"])
@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/startupz", "/metrics"])
def test_no_page_waits_for_it_in_an_outage(run, clock, app, path: str, during: str) -> None:
    """HLT-1, HLT-2: and what it would say then is not taken for a page of its own."""

    async def story() -> bytes:
        app.during = during
        away(app.home.house.main)
        for _ in range(3):
            assert (await app.home.get(path)).body != b"mine"
        assert clock.now == 1000.0
        back(app.home.house.main)
        return (await app.home.get(path)).body

    assert run(story()) == b"mine"


@pytest.mark.parametrize("status", [500, 503])
def test_one_that_fails_has_no_page_of_its_own(run, clock, app, status: int) -> None:
    async def story() -> bytes:
        app.status = status
        assert (await app.home.get("/health")).problem["service"] == "alive"
        assert (await app.home.get("/readyz")).problem["ok"] is True
        app.status = 200
        for path in ("/health", "/readyz"):
            await app.home.get(path)  # asked beside
            await turns()
        assert (await app.home.get("/readyz")).body == b"mine"
        return (await app.home.get("/health")).body

    assert run(story()) == b"mine"


def test_one_that_hangs_hardly_delays_liveness_and_readiness_once(run, clock) -> None:
    async def hangs(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    async def story() -> list[float]:
        home, took = Home(hangs, clock), []
        for path in ("/health", "/health", "/readyz", "/readyz"):
            began = clock.now
            await home.get(path)
            took.append(round(clock.now - began, 3))
        return took

    assert run(story()) == [0.05, 0.0, 1.0, 0.0]


def test_it_is_not_asked_before_it_has_started(run, clock, app) -> None:
    async def story() -> None:
        app.home.front.opened, app.home.front.opens_within = asyncio.Event(), 10.0
        assert (await app.home.get("/health")).problem["service"] == "alive"
        assert app.asked == []
        app.home.front.opened.set()
        assert (await app.home.get("/health")).body == b"mine"

    run(story())


def test_many_ask_it_once(run, app) -> None:
    async def story() -> list[bytes]:
        clients = await asyncio.gather(*(app.home.get("/readyz") for _ in range(5)))
        assert app.asked == ["/readyz"] * 6  # asked once, and served
        return [client.body for client in clients]

    assert run(story()) == [b"mine"] * 5


# ── what they look like ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/health", "/readyz", "/_holdfast/readyz"])
async def test_a_browser_of_an_allowed_origin_can_read_them(clock, path: str) -> None:
    """REQ-9."""
    cors = Middleware(CORSMiddleware, allow_origins=[SHOP.decode()])
    home = Home(Starlette(middleware=[cors]), clock)

    client = await home.get(path, origin=SHOP, x_request_id=b"trace-1")

    assert client.headers["access-control-allow-origin"] == "https://shop.example"
    assert client.headers["x-request-id"] == "trace-1"
    assert "access-control-allow-origin" not in (await home.get(path, origin=b"https://evil.example")).headers


def test_in_an_outage_they_have_what_is_known(run, clock, app) -> None:
    async def story() -> list[bool]:
        app.home.house.replay.answers.cors._clients = (SHOP.decode(),)
        away(app.home.house.main)
        found = [(await app.home.get("/readyz", origin=one)).headers for one in (SHOP, b"https://b.example")]
        return ["access-control-allow-origin" in headers for headers in found]

    assert run(story()) == [True, False]
    assert clock.now == 1000.0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_they_can_only_be_read(clock, method: str) -> None:
    """HLT-1."""
    client = await Home(Starlette(), clock).get("/health", method=method)

    assert client.status == 405
    assert client.headers["allow"] == "GET, HEAD"


async def test_a_preflight_is_the_applications(clock) -> None:
    cors = Middleware(CORSMiddleware, allow_origins=[SHOP.decode()])
    home = Home(Starlette(middleware=[cors]), clock)

    client = await home.get("/readyz", "OPTIONS", origin=SHOP, access_control_request_method=b"GET")

    assert client.status == 200
    assert client.headers["access-control-allow-methods"]
