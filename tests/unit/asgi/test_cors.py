"""Our own answers carry the CORS headers that the application itself would send (REQ-9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgi_stage import House, answers, loses, scope_of
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from holdfast.asgi.cors import Cors

SHOP = b"https://shop.example"
EVIL = b"https://evil.example"


def shop(**cors: Any) -> Starlette:
    async def items(request: Request) -> PlainTextResponse:
        return PlainTextResponse("items")

    return Starlette(
        routes=[Route("/items", items)],
        middleware=[Middleware(CORSMiddleware, **cors)] if cors else [],
    )


async def learned(app: Any, origin: bytes | None, client_urls: str | None = None) -> dict[str, str]:
    found = await Cors(app, client_urls).headers(scope_of(), origin)
    return {name.decode(): value.decode() for name, value in found}


async def test_they_are_learned_from_the_applications_middleware() -> None:
    app = shop(allow_origins=[SHOP.decode()], allow_credentials=True, allow_methods=["*"])

    assert await learned(app, SHOP) == {
        "access-control-allow-origin": "https://shop.example",
        "access-control-allow-credentials": "true",
        "vary": "Origin",
        "access-control-expose-headers": "Retry-After, X-Request-ID",
    }
    assert await learned(app, EVIL) == {}


async def test_a_wildcard_stays_a_wildcard_without_credentials() -> None:
    found = await learned(shop(allow_origins=["*"]), SHOP)

    assert found["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in found


async def test_who_names_no_origin_gets_none() -> None:
    assert await learned(shop(allow_origins=["*"]), None) == {}


async def test_an_application_without_cors_allows_nothing() -> None:
    assert await learned(shop(), SHOP) == {}


@pytest.mark.parametrize("urls", ["https://shop.example", "https://a.example, https://shop.example/"])
async def test_where_it_says_nothing_the_front_ends_address_decides(urls: str) -> None:
    found = await learned(shop(), SHOP, urls)

    assert found["access-control-allow-origin"] == "https://shop.example"
    assert found["access-control-allow-credentials"] == "true"
    assert await learned(shop(), EVIL, urls) == {}


async def test_it_is_asked_once_for_each_origin_and_never_for_too_many() -> None:
    asked = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(dict(scope["headers"])[b"origin"])
        await answers(send, 204)

    cors = Cors(app, None)
    for _ in range(3):
        await cors.headers(scope_of(), SHOP)
    assert asked == [SHOP]

    for number in range(1000):
        await cors.headers(scope_of(), b"https://%d.example" % number)
    assert len(cors._known) == 256


async def test_it_is_asked_as_a_browser_asks() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["method"], sorted(scope["headers"]), await receive()))

    scope = scope_of("POST", headers=[(b"host", b"api.example"), (b"cookie", b"session=1")])
    await Cors(app, None).headers(scope, SHOP)

    headers = [(b"access-control-request-method", b"POST"), (b"host", b"api.example"), (b"origin", SHOP)]
    assert seen == [("OPTIONS", headers, {"type": "http.request", "body": b"", "more_body": False})]


@pytest.mark.parametrize("trouble", ["raises", "hangs"])
def test_an_application_that_cannot_say_allows_nothing(run, clock, trouble: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if trouble == "raises":
            raise RuntimeError("no")
        await asyncio.sleep(3600)

    assert run(learned(app, SHOP)) == {}
    assert clock.now <= 1001.0


@pytest.mark.parametrize("trouble", ["raises", "silent", "503", "late"])
def test_what_it_says_while_it_fails_is_not_kept(run, clock, trouble: str) -> None:
    """Its database may be away: what it allows is learned as soon as it can say."""
    inner = shop(allow_origins=[SHOP.decode()])
    fails = True

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not fails:
            await inner(scope, receive, send)
        elif trouble == "raises":
            raise RuntimeError("no")
        elif trouble == "503":
            await answers(send, 503)
        elif trouble == "late":
            await asyncio.sleep(3600)

    async def story() -> list[int]:
        nonlocal fails
        cors = Cors(app, None)
        during = await cors.headers(scope_of(), SHOP)
        fails = False
        await asyncio.sleep(2.0)
        return [len(during), len(await cors.headers(scope_of(), SHOP))]

    assert run(story()) == [0, 3]


def test_one_that_takes_too_long_does_not_delay_each_answer(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    async def story() -> None:
        cors = Cors(app, SHOP.decode())
        for _ in range(10):
            found = dict(await cors.headers(scope_of(), SHOP))
            assert found[b"access-control-allow-origin"] == SHOP

    run(story())

    assert clock.now == 1001.0


async def test_what_is_known_is_told_without_asking() -> None:
    cors = Cors(shop(allow_origins=[SHOP.decode()]), None)

    assert cors.at_once(SHOP) == []
    learned = await cors.headers(scope_of(), SHOP)
    assert cors.at_once(SHOP) == learned != []
    assert cors.at_once(None) == []


def test_a_browser_can_read_our_503(run, clock) -> None:
    """It would otherwise report "blocked by CORS" and hide it."""
    inner = shop(allow_origins=[SHOP.decode()])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "OPTIONS":
            await inner(scope, receive, send)
        else:
            raise loses(house.main)

    house = House(app, clock)
    client = run(house.ask("POST", headers=[(b"origin", SHOP)]))

    assert client.status == 503
    assert client.headers["access-control-allow-origin"] == "https://shop.example"
    assert "Retry-After" in client.headers["access-control-expose-headers"]
