"""Which paths an application answers itself (PRM-5)."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, asgi, get
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from holdfast.asgi.own_routes import own_paths

PAGES = ("/health", "/livez", "/api/health", "/readyz", "/api/health/detailed", "/health/db", "/metrics")


async def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("mine")


def test_literal_paths_are_its_own() -> None:
    app = Starlette(routes=[Route("/health", page), Route("/items/{number}", page)])

    assert own_paths(app, PAGES) == {"/health"}


def test_a_catch_all_is_no_health_endpoint() -> None:
    """It serves a single-page application."""
    assert own_paths(Starlette(routes=[Route("/{path:path}", page)]), PAGES) == frozenset()


@pytest.mark.parametrize("path", ["/{slug}", "/{one}/{two}", "/{number:int}"])
def test_nor_is_any_route_of_parameters_alone(path: str) -> None:
    """It names none of our pages, and would take them all."""
    assert own_paths(Starlette(routes=[Route(path, page)]), PAGES) == frozenset()


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/health/{part}", {"/health/db"}),
        ("/api/{path:path}", {"/api/health", "/api/health/detailed"}),
        ("/{version}/health", {"/api/health"}),
        ("/health/{number:int}", set()),
        ("/health.{kind}", set()),
    ],
)
def test_a_parameter_stands_for_what_it_can(path: str, own: set[str]) -> None:
    assert own_paths(Starlette(routes=[Route(path, page)]), PAGES) == own


async def opaque(scope: Any, receive: Any, send: Any) -> None: ...


def test_a_mount_without_a_table_owns_all_below_it() -> None:
    below = {"/api/health", "/api/health/detailed"}

    assert own_paths(Starlette(routes=[Mount("/api", app=opaque)]), PAGES) == below
    assert own_paths(Starlette(routes=[Mount("/api", routes=[Mount("/", app=opaque)])]), PAGES) == below
    assert own_paths(Starlette(routes=[Mount("/", app=opaque)]), PAGES) == frozenset()
    assert own_paths(Starlette(routes=[Mount("", app=opaque)]), PAGES) == frozenset()
    assert own_paths(Starlette(routes=[Mount("/apis", app=opaque)]), PAGES) == frozenset()


def test_a_mount_is_looked_into_through_its_middleware() -> None:
    inner = CORSMiddleware(Starlette(routes=[Route("/health", page)]))

    assert own_paths(Starlette(routes=[Mount("/api", app=inner)]), PAGES) == {"/api/health"}
    assert own_paths(Starlette(routes=[Mount("/api", app=Starlette())]), PAGES) == frozenset()


def test_mounts_are_looked_into() -> None:
    inner = Starlette(routes=[Route("/health", page), Mount("/v2", routes=[Route("/db", page)])])

    asked = ("/api/health", "/api/v2/db", "/health", "/api/db")
    assert own_paths(Starlette(routes=[Mount("/api", app=inner)]), asked) == {"/api/health", "/api/v2/db"}


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

    own = {"/v1/api/health", "/v1/api/health/db", "/db"}
    assert own_paths(app, [*own, "/v1/health", "/health", "/v1/db"]) == own


def test_wrappers_are_looked_through() -> None:
    class Wrapper:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    assert own_paths(Wrapper(Wrapper(Starlette(routes=[Route("/livez", page)]))), PAGES) == {"/livez"}


def test_a_litestar_application() -> None:
    @get("/health", sync_to_thread=False)
    def health() -> str:
        return "mine"

    assert own_paths(Litestar([health], openapi_config=None), PAGES) == {"/health"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer versions want more said of a mount
def test_a_litestar_application_with_parameters_and_a_mount() -> None:
    @get("/health/{part:str}", sync_to_thread=False)
    def health() -> str:
        return "mine"

    @asgi("/api", is_mount=True)
    async def mounted(scope: Any, receive: Any, send: Any) -> None: ...

    app = Litestar([health, mounted], openapi_config=None)

    assert own_paths(app, PAGES) == {"/health/db", "/api/health", "/api/health/detailed"}


def test_a_plain_application_has_no_table() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert own_paths(app, PAGES) is None


def test_wrappers_without_end_are_given_up() -> None:
    class Snake:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

        @property
        def app(self) -> Any:
            return self

    assert own_paths(Snake(), PAGES) is None
