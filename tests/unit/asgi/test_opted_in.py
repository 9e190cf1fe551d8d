"""Routes whose endpoint bears `@journaled` (JRN-1)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from litestar import Controller, Litestar, get, post
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from holdfast.asgi.journaling import journaled
from holdfast.asgi.opted_in import opted_in, owns
from holdfast.policy.routes import Routes


@journaled
async def place(request: Any) -> PlainTextResponse:
    return PlainTextResponse("mine")


async def look(request: Any) -> PlainTextResponse:
    return PlainTextResponse("mine")


def test_marked_routes_of_starlette() -> None:
    inner = Starlette(routes=[Route("/orders/{number:int}", place, methods=["PUT", "DELETE"])])
    app = Starlette(
        routes=[
            Route("/orders", place, methods=["POST"]),
            Route("/items", look),
            Mount("/v2", app=inner),
        ]
    )

    assert opted_in(app) == ("POST /orders", "DELETE /v2/orders/{number:int}", "PUT /v2/orders/{number:int}")


def test_names_are_routes() -> None:
    app = Starlette(
        routes=[
            Route("/orders/{number:int}", place, methods=["PUT"]),
            Route("/files/{rest:path}", place, methods=["PUT"]),
        ]
    )
    routes = Routes(opted_in(app))

    assert ("PUT", "/orders/7") in routes
    assert ("PUT", "/files/a/b") in routes
    assert ("PUT", "/orders/7/lines") not in routes


def test_a_method_of_an_endpoint_class() -> None:
    class Orders(HTTPEndpoint):
        @journaled
        async def post(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse("mine")

        async def get(self, request: Any) -> PlainTextResponse:
            return PlainTextResponse("mine")

    assert opted_in(Starlette(routes=[Route("/orders", Orders)])) == ("POST /orders",)


def test_marked_routes_of_fastapi_and_its_routers() -> None:
    app, router = FastAPI(), APIRouter(prefix="/api")

    @router.post("/orders")
    @journaled
    async def order() -> str:
        return "mine"

    @app.post("/items")
    async def item() -> str:
        return "mine"

    app.include_router(router, prefix="/v1")

    assert opted_in(app) == ("POST /v1/api/orders",)


def test_marked_routes_of_litestar() -> None:
    class Orders(Controller):
        path = "/orders"

        @post("/")
        @journaled
        async def order(self) -> str:
            return "mine"

    @journaled
    @post("/baskets")
    async def basket() -> str:
        return "mine"

    @get("/items")
    async def items() -> str:
        return "mine"

    assert set(opted_in(Litestar([Orders, basket, items], openapi_config=None))) == {
        "POST /orders",
        "POST /baskets",
    }


def test_an_application_without_a_table_has_no_marked_routes() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert opted_in(app) == ()
    assert owns(app, "/operations") is None


def test_what_an_application_owns() -> None:
    app = Starlette(routes=[Route("/operations/{id}", look), Route("/orders", look)])

    assert owns(app, "/operations")
    assert owns(app, "/orders")
    assert owns(app, "/order") is False
