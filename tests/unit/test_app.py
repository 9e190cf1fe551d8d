"""One line of code: `install` on FastAPI, `wrap` on anything (PRM-2, PRM-5)."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from starlette.responses import StreamingResponse

from holdfast import Holdfast, Settings
from holdfast.app import patience, pool_rules, starts_without_database, watchfulness
from holdfast.context import REQUEST, Request
from holdfast.faults.verdicts import LOST
from holdfast.settings.failure import StartFailure
from holdfast.settings.report import Misconfigured

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # newer ones prefer a successor of httpx
    warnings.simplefilter("ignore", UserWarning)
    from starlette.testclient import TestClient

QUIET = Settings(app_env="test", connect_attempts=1, start_without_database=True)


@pytest.fixture
def hold() -> Iterator[Holdfast]:
    one = Holdfast(QUIET)
    yield one
    one.close()


def shop(**about: Any) -> FastAPI:
    app = FastAPI(**about)

    @app.get("/items/{number}")
    async def item(number: int) -> dict[str, Any]:
        request = REQUEST.get()
        return {"number": number, "id": request.id if request else None}

    @app.get("/sync")
    def sync() -> dict[str, Any]:
        request = REQUEST.get()
        return {"id": request.id if request else None}

    @app.get("/sold-out")
    async def sold_out() -> None:
        raise HTTPException(409, "sold out")

    @app.get("/broken")
    async def broken() -> None:
        raise KeyError("hunter2")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        request = REQUEST.get()
        await socket.send_text(request.kind if request else "")
        await socket.close()

    return app


@pytest.fixture(params=["install", "wrap"])
def served(request: pytest.FixtureRequest, hold: Holdfast) -> Any:
    """A shop with holdfast before it, either way; what a server is given."""
    app = shop()
    if request.param == "wrap":
        return hold.wrap(app)
    hold.install(app)
    return app


def test_what_it_does_without_faults_it_does_the_same(served) -> None:
    """PRM-5."""
    with TestClient(served) as client:
        assert client.get("/items/7").json()["number"] == 7
        assert client.get("/items/x").status_code == 422
        answer = client.get("/sold-out")
        assert (answer.status_code, answer.json()) == (409, {"detail": "sold out"})
        assert client.get("/nowhere").json() == {"detail": "Not Found"}
        assert client.get("/stream").text == "ab"
        assert client.get("/openapi.json").status_code == 200


def test_its_requests_carry_an_id(served) -> None:
    """REQ-1: in coroutines, in threads, and in the answer."""
    with TestClient(served) as client:
        for path in ("/items/7", "/sync"):
            answer = client.get(path, headers={"X-Request-ID": "trace-1"})
            assert answer.json()["id"] == "trace-1"
            assert answer.headers["x-request-id"] == "trace-1"


def test_its_exceptions_still_reach_the_server(served) -> None:
    """Its own test suite passes unchanged: a test client raises what a handler raised."""
    with TestClient(served) as client, pytest.raises(KeyError, match="hunter2"):
        client.get("/broken")


def test_and_clients_get_a_problem_without_its_text(served) -> None:
    """ERR-3, ERR-4."""
    with TestClient(served, raise_server_exceptions=False) as client:
        answer = client.get("/broken")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"


def test_websockets_pass(served) -> None:
    with TestClient(served) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_text() == "websocket"


def test_our_pages_are_there(served) -> None:
    with TestClient(served) as client:
        assert client.get("/health").json()["service"] == "alive"
        ready = client.get("/_holdfast/readyz")
        assert (ready.status_code, ready.json()["ok"]) == (200, True)
        assert "holdfast_" in client.get("/metrics").text


def test_a_server_without_a_lifespan_is_ready_as_soon_as_it_serves(served) -> None:
    """PRM-2: nobody will ever tell that it has started (`uvicorn --lifespan off`, daphne)."""
    client = TestClient(served)  # without `with` it runs no lifespan

    ready, started = client.get("/_holdfast/readyz"), client.get("/_holdfast/startupz")

    assert (ready.status_code, ready.json()["ok"]) == (200, True)
    assert (started.status_code, started.json()["phase"]) == (200, "ready")


def test_one_that_runs_it_is_not_ready_before_the_application_is(hold: Holdfast) -> None:
    """BOOT-4: an orchestrator that asks meanwhile sends nobody yet."""
    asked: list[int] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        asked.append((await hold.fronts[0].stage().health.startup())[0])
        yield
        asked.append((await hold.fronts[0].stage().health.startup())[0])

    with TestClient(hold.wrap(shop(lifespan=lifespan))):
        pass

    assert asked == [503, 200]


@pytest.mark.parametrize("way", ["install", "wrap"])
def test_its_own_health_page_wins(hold: Holdfast, way: str) -> None:
    app = shop()
    app.add_api_route("/health", lambda: {"mine": True})
    served: Any = app
    if way == "install":
        hold.install(app)
    else:
        served = hold.wrap(app)

    with TestClient(served) as client:
        assert client.get("/health").json() == {"mine": True}
        assert client.get("/_holdfast/health").json()["service"] == "alive"


def test_its_lifespan_and_state_are_its_own(hold: Holdfast) -> None:
    log = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("starts")
        yield {"pool": "warm"}
        log.append("stops")

    app = shop(lifespan=lifespan)
    with TestClient(hold.wrap(app)) as client:
        assert client.get("/items/1").status_code == 200
        assert log == ["starts"]

    assert log == ["starts", "stops"]
    assert hold.registry.watch is None


def test_a_startup_that_fails_is_told_as_its_own(hold: Holdfast) -> None:
    """BOOT-4."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no licence")
        yield

    app = shop(lifespan=lifespan)
    hold.install(app)
    with pytest.raises(RuntimeError, match="no licence"), TestClient(app):
        pytest.fail("it must not start")


def test_a_database_that_is_absent_is_told_in_words_alone(served, monkeypatch: pytest.MonkeyPatch) -> None:
    """BOOT-4, BOOT-6: servers that print what is raised print its causes and their stacks too."""

    async def reach(*_: Any) -> None:
        try:
            raise ConnectionRefusedError("refused")
        except OSError as error:
            raise StartFailure("databases", "refused", "Start it.", 69) from error

    monkeypatch.setattr("holdfast.app.reach", reach)
    monkeypatch.setattr("holdfast.app.starts_without_database", lambda _: False)
    with pytest.raises(StartFailure, match="Start it") as caught, TestClient(served):
        pytest.fail("it must not start")

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "in reach" not in "".join(traceback.format_exception(caught.value))


def test_installed_outside_all_middleware(hold: Holdfast) -> None:
    """REQ-9: its CORS middleware is inside, so our answers are given its headers."""
    app = shop()
    app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"])
    hold.install(app)

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken", headers={"Origin": "https://shop.example"})

    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


def test_installing_needs_a_middleware_stack(hold: Holdfast) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(TypeError, match=r"function has no middleware stack; use app = Holdfast\(\)\.wrap"):
        hold.install(app)


def test_installing_after_the_first_request_is_refused(hold: Holdfast) -> None:
    app = shop()
    TestClient(app).get("/items/1")

    with pytest.raises(RuntimeError, match="before its first request"):
        hold.install(app)


def test_a_plain_application(hold: Holdfast) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 404 if "health" in scope["path"] else 200})
        await send({"type": "http.response.body", "body": b"hello"})

    with TestClient(hold.wrap(app)) as client:
        assert client.get("/").text == "hello"
        assert client.get("/").headers["x-request-id"]
        assert client.get("/health").json()["service"] == "alive"


def test_settings_that_are_wrong_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3."""
    monkeypatch.setenv("DB_SSL", "requird")
    monkeypatch.setenv("HOLDFAST_MAX_WIAT_MS", "5")

    with pytest.raises(Misconfigured) as caught:
        Holdfast()

    assert {one.name for one in caught.value.problems} == {"DB_SSL", "HOLDFAST_MAX_WIAT_MS"}
    assert "HOLDFAST_MAX_WAIT_MS" in str(caught.value)


def test_the_applications_own_variables_stop_nobody(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """PRM-5, PRM-3: they are told once; where a server of its own listens, PORT is one of them."""
    monkeypatch.setenv("LOG_FORMAT", "%(message)s")
    monkeypatch.setenv("PORT", "unix:/run/shop.sock")
    one = Holdfast()
    app = one.wrap(shop())
    try:
        with TestClient(app) as client:
            client.get("/sync")
    finally:
        one.close()

    told = [message for message in caplog.messages if message.startswith("setting_ignored")]
    assert len(told) == 2
    assert "PORT" in told[0]
    assert "is '%(message)s' but must be human or json" in told[1]


@pytest.mark.parametrize(
    ("app_env", "chosen", "expected"),
    [
        ("production", None, False),
        ("staging", None, False),
        ("test", None, False),
        ("development", None, True),
        ("development", False, False),
        ("production", True, True),
    ],
)
def test_where_it_starts_without_its_database(app_env: str, chosen: bool | None, expected: bool) -> None:
    """BOOT-2."""
    assert starts_without_database(Settings(app_env=app_env, start_without_database=chosen)) is expected


def test_settings_reach_those_they_are_for() -> None:
    settings = Settings(db_pool_max=7, db_heartbeat_s=3.0, connect_attempts=9, db_connect_timeout_s=2.5)

    assert pool_rules(settings).size == 7
    assert pool_rules(settings).hide_parameters
    assert watchfulness(settings).heartbeat == 3.0
    assert (patience(settings).attempts, patience(settings).timeout) == (9, 2.5)


def test_what_is_still_withheld_is_told_when_it_lets_go(hold: Holdfast, caplog: Any) -> None:
    """LOG-1: a request that was cut off in the middle has nobody left to speak for it."""
    hold.listen()
    request = Request("r-1", "GET", "/", 0.0, 30.0)
    request.ledger.fault = LOST
    token = REQUEST.set(request)
    try:
        logging.getLogger("shop").error("using the cache")
    finally:
        REQUEST.reset(token)
    assert caplog.messages == []

    hold.close()

    assert caplog.messages == ["using the cache"]
