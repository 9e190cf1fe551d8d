"""Which paths an application answers itself (PRM-5)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from holdfast.asgi.own_routes import own_paths


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("mine")


def test_literal_paths_are_its_own() -> None:
    app = Starlette(routes=[Route("/health", page), Route("/items/{number}", page)])

    assert own_paths(app) == {"/health"}


def test_a_catch_all_is_no_health_endpoint() -> None:
    """It serves a single-page application."""
    assert own_paths(Starlette(routes=[Route("/{path:path}", page)])) == frozenset()


def test_mounts_are_looked_into() -> None:
    inner = Starlette(routes=[Route("/health", page), Mount("/v2", routes=[Route("/db", page)])])

    assert own_paths(Starlette(routes=[Mount("/api", app=inner)])) == {"/api/health", "/api/v2/db"}


def test_a_fastapi_application_with_routers() -> None:
    """Newer versions keep an included router whole, older ones copy its routes."""
    inner, outer = APIRouter(), APIRouter(prefix="/api")
    inner.add_api_route("/db", lambda: "mine")
    outer.add_api_route("/health", lambda: "mine")
    outer.add_api_route("/items/{number}", lambda number: "mine")
    outer.include_router(inner, prefix="/health")
    app = FastAPI(openapi_url=None)
    app.include_router(outer, prefix="/v1")
    app.include_router(inner)

    assert own_paths(app) == {"/v1/api/health", "/v1/api/health/db", "/db"}


def test_wrappers_are_looked_through() -> None:
    class Wrapper:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    assert own_paths(Wrapper(Wrapper(Starlette(routes=[Route("/livez", page)])))) == {"/livez"}


def test_a_litestar_application() -> None:
    @get("/health", sync_to_thread=False)
    def health() -> str:
        return "mine"

    assert own_paths(Litestar([health], openapi_config=None)) == {"/health"}


def test_a_plain_application_has_no_table() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert own_paths(app) is None


def test_wrappers_without_end_are_given_up() -> None:
    class Snake:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

        @property
        def app(self) -> Any:
            return self

    assert own_paths(Snake()) is None
