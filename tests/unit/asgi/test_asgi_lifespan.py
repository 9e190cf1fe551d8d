"""Our startup and shutdown round the application's; failures are told by message, then raised (BOOT-4)."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.asgi.lifespan import Steps, run

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
COMPLETE = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


class Server:
    """A server's side: gives startup and then shutdown, notes what it is told and what is ours."""

    def __init__(self, begin: Exception | None = None) -> None:
        self.log: list[Any] = []
        self._refusal = begin
        self._inbox = [STARTUP, SHUTDOWN]

    async def receive(self) -> Any:
        return self._inbox.pop(0)

    async def send(self, message: Any) -> None:
        self.log.append(message)

    async def begin(self) -> None:
        self.log.append("begin")
        if self._refusal is not None:
            raise self._refusal

    def began(self) -> None:
        self.log.append("began")

    async def drain(self) -> None:
        self.log.append("drain")

    async def end(self) -> None:
        self.log.append("end")

    async def serve(self, app: Any, state: dict[str, Any] | None = None) -> list[Any]:
        steps = Steps(self.begin, self.began, self.drain, self.end)
        scope = {"type": "lifespan", "state": {} if state is None else state}
        try:
            await asyncio.wait_for(run(app, steps, scope, self.receive, self.send), 2)
        except Exception as error:
            self.log.append(error)
        return self.log


def told(log: list[Any]) -> list[str]:
    return [one["type"] if isinstance(one, dict) else str(one) for one in log]


async def test_ours_stand_round_the_applications() -> None:
    server = Server()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert await receive() == STARTUP
        server.log.append("app starts")
        scope["state"]["pool"] = 1
        await send(COMPLETE)
        assert await receive() == SHUTDOWN
        server.log.append("app stops")
        await send(STOPPED)

    state: dict[str, Any] = {}
    log = await server.serve(app, state)

    assert log == ["begin", "app starts", "began", COMPLETE, "drain", "app stops", "end", STOPPED]
    assert state == {"pool": 1}


async def test_a_start_of_ours_that_fails_is_told_and_the_application_never_runs() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("not to be run")

    refusal = RuntimeError("no database")
    log = await Server(begin=refusal).serve(app)

    assert log == ["begin", "end", {"type": "lifespan.startup.failed", "message": "no database"}, refusal]


async def test_an_application_without_lifespan_that_raises_is_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    log = await Server().serve(app)

    assert log == ["begin", "began", COMPLETE, "drain", "end", STOPPED]


async def test_an_application_without_lifespan_that_returns_is_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    assert await Server().serve(app) == ["begin", "began", COMPLETE, "drain", "end", STOPPED]


async def test_an_application_that_takes_the_lifespan_for_a_request_is_served() -> None:
    """PRM-5: what it says is not passed on; as under uvicorn, it does not support lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert await Server().serve(app) == ["begin", "began", COMPLETE, "drain", "end", STOPPED]


async def test_an_application_that_raises_after_it_asked_has_failed() -> None:
    """Servers take an exception for "unsupported" and would serve regardless."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise KeyError("SECRET")

    log = await Server().serve(app)

    assert told(log) == ["begin", "end", "lifespan.startup.failed", "'SECRET'"]
    assert log[-2]["message"] == "KeyError: 'SECRET'"


async def test_its_own_failure_is_passed_on() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "mine"})

    log = await Server().serve(app)

    assert log == ["begin", "end", {"type": "lifespan.startup.failed", "message": "mine"}]


async def test_a_failure_that_it_tells_and_raises_is_told_once() -> None:
    """As Starlette does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "mine"})
        raise RuntimeError("mine")

    assert told(await Server().serve(app)) == ["begin", "end", "lifespan.startup.failed", "mine"]


async def test_a_shutdown_that_raises_is_told_and_ours_still_runs() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE)
        await receive()
        raise OSError("disk full")

    log = await Server().serve(app)

    assert told(log) == [
        "begin",
        "began",
        "lifespan.startup.complete",
        "drain",
        "end",
        "lifespan.shutdown.failed",
        "disk full",
    ]
    assert log[-2]["message"] == "OSError: disk full"


class Refusing(Server):
    """As hypercorn: what it raises from `send` has to come back to it."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "lifespan.startup.failed":
            raise InterruptedError("failed to start")


async def test_a_server_that_refuses_by_raising_is_heard() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "mine"})

    log = await Refusing().serve(app)

    assert told(log) == ["begin", "end", "lifespan.startup.failed", "failed to start"]


async def test_and_prints_nothing_of_ours_with_it() -> None:
    """BOOT-6: its message has told why already."""
    log = await Refusing(begin=RuntimeError("no database")).serve(None)

    assert told(log) == ["begin", "end", "lifespan.startup.failed", "failed to start"]
    assert (log[-1].__cause__, log[-1].__context__) == (None, None)
