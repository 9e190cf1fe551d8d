"""A stage without a network: time that jumps, a client, a database that comes and goes, a house."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from holdfast.asgi.answers import Answers
from holdfast.asgi.context import request_of
from holdfast.asgi.cors import Cors
from holdfast.asgi.deadlines import Deadlines
from holdfast.asgi.door import Door
from holdfast.asgi.door import Rules as DoorRules
from holdfast.asgi.keys import KeyRules, Keys
from holdfast.asgi.replay import Replay
from holdfast.asgi.replay import Rules as ReplayRules
from holdfast.asgi.types import App, Message, Scope
from holdfast.context import REQUEST, Ledger, Request
from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database
from holdfast.databases.monitor import Disconnected, Recovering, Suspect
from holdfast.events import Bus, Event
from holdfast.faults.verdicts import LOST, RACE
from holdfast.policy.window import Usage
from jumping import JumpingClock


class ServerClock(JumpingClock):
    """Time that jumps, and what the process uses of it."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0.0  # seconds of the processor
        self.waited = 0  # how often a thread waited

    def usage(self) -> Usage:
        return Usage(self.computed, self.waited)


async def turns(count: int = 5) -> None:
    """Let whoever is ready run on."""
    for _ in range(count):
        await asyncio.sleep(0)


class Client:
    """The server's side of one request: what it gives, and what it was given."""

    def __init__(self, *parts: bytes) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []
        self.reads = 0
        for number, part in enumerate(parts or (b"",), start=1):
            self.give(part, more=number < len(parts))

    def give(self, part: bytes, *, more: bool = False) -> None:
        self.inbox.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        self.inbox.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        self.reads += 1
        return await self.inbox.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def starts(self) -> list[Message]:
        return [one for one in self.sent if one["type"] == "http.response.start"]

    @property
    def status(self) -> int:
        (start,) = self.starts
        return int(start["status"])

    @property
    def headers(self) -> dict[str, str]:
        (start,) = self.starts
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.sent if one["type"] == "http.response.body")

    @property
    def problem(self) -> dict[str, Any]:
        told = json.loads(self.body)
        assert isinstance(told, dict)
        return told


class Pool:
    """A driver that does nothing but tell the size of its pool."""

    library = "fake"
    networked = False
    provisional = False

    def __init__(self, most: int = 5) -> None:
        self.most = most
        self.crowd = False

    async def knock(self) -> None:
        raise AssertionError("nobody may knock here")

    async def open(self) -> Any:
        raise AssertionError("nobody may log in here")

    def crowded(self) -> bool:
        return self.crowd

    def pool(self) -> dict[str, int]:
        return {"size": 2, "idle": 1, "active": 1, "waiting": 0, "max": self.most}


def away(database: Database, since: float | None = None) -> None:
    """The database is lost."""
    began = database.clock.monotonic() if since is None else since
    database.become(Disconnected(database.state.round + 1, began, "refused", attempts=1))


def suspect(database: Database) -> None:
    """A connection was lost, and nobody knows yet what it means."""
    now = database.clock.monotonic()
    database.become(Suspect(database.state.round + 1, now, "reset", broken=True))


def back(database: Database) -> None:
    """The database answers again."""
    now = database.clock.monotonic()
    database.become(Recovering(database.state.round + 1, now, lost_at=now, attempts=3))


def ledger() -> Ledger:
    """The ledger of the attempt under way."""
    request = REQUEST.get()
    assert request is not None
    return request.ledger


def loses(database: Database, *, sent: int = 1) -> ConnectionResetError:
    """The attempt under way loses its connection: what the hooks would write. The error to raise."""
    error = ConnectionResetError("connection lost")
    one = ledger()
    one.attempts += 1
    one.sent += sent
    one.fail(LOST, error)
    one.lost = database.name
    return error


def races() -> RuntimeError:
    """The attempt under way loses a race with another transaction, and was rolled back."""
    error = RuntimeError("could not serialize access")
    one = ledger()
    one.attempts += 1
    one.sent += 1
    one.fail(RACE, error)
    return error


async def answers(send: Any, status: int = 200, body: bytes = b"fine") -> None:
    """What an application's handler sends."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-app", b"1")]})
    await send({"type": "http.response.body", "body": body})


async def reads(receive: Any) -> bytes:
    """The whole body, as an application reads it."""
    body, more = b"", True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def scope_of(method: str = "GET", path: str = "/items", headers: Iterable[tuple[bytes, bytes]] = ()) -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": list(headers),
        "client": ("10.0.0.9", 1),
    }


class Counted:
    """The metrics and the records, as far as requests touch them."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int]] = []
        self.forgotten: list[str] = []
        self.released: list[str] = []

    def served(self, method: str, status: int) -> None:
        self.answers.append((method, status))

    def forget(self, request: Request) -> None:
        self.forgotten.append(request.id)

    def release(self, request: Request) -> None:
        self.released.append(request.id)


class House:
    """An application behind a door, with one database."""

    def __init__(
        self,
        app: App,
        clock: ServerClock,
        *,
        door: DoorRules | None = None,
        rules: ReplayRules | None = None,
        timeout: float = 30.0,
        client_url: str | None = None,
        style: Any = "problem",
        production: bool = True,
        pool: int = 5,
    ) -> None:
        self.told: list[Event] = []
        bus = Bus()
        bus.subscribe(self.told.append)
        self.clock = clock
        self.timeout = timeout
        self.counted = Counted()
        self.registry = Registry()
        self.main = self.registry.adopt(("main",), "main", "db:5432", lambda: Pool(pool))
        self.main.clock = clock
        self.door = Door(door or DoorRules(), lambda *_: None, bus)
        speaker = Answers(Cors(app, client_url), style=style, production=production)
        self.deadlines = Deadlines(speaker.late)
        self.replay = Replay(
            app,
            self.registry,
            self.door,
            speaker,
            self.deadlines,
            self.counted,
            self.counted,
            rules or ReplayRules(),
            Keys(self.registry, KeyRules(), bus),
            bus=bus,
        )

    async def ask(
        self,
        method: str = "GET",
        path: str = "/items",
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        client: Client | None = None,
        **about: Any,
    ) -> Client:
        """One request to its end; raises what its application let out. *about* goes into its scope."""
        client = client or Client()
        loop = asyncio.get_running_loop()
        self.door.open_for(self.registry, loop)
        scope = {**scope_of(method, path, headers), **about}
        request = request_of(scope, self.timeout)
        scope["holdfast"] = request
        token = REQUEST.set(request)
        try:
            await self.replay.run(scope, client.receive, client.send, request, loop)
        finally:
            REQUEST.reset(token)
        return client

    def asks(self, *args: Any, **kwargs: Any) -> asyncio.Task[Client]:
        """One request beside."""
        return asyncio.ensure_future(self.ask(*args, **kwargs))

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind, in order."""
        return [one for one in self.told if isinstance(one, kind)]
