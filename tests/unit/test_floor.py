"""What a stop does to those who wait for what does not come (SHD-1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import floor as module
from holdfast.asgi.body import Body
from holdfast.context import Request
from holdfast.databases.database import Database
from holdfast.databases.link import Link, Opening
from holdfast.floor import MARGIN_S, QUIET_S, STALLED_S, Floor

SUSPECT_S = 1.0
SILENT_S = SUSPECT_S + MARGIN_S + 0.01


class Scene:
    """A floor over one database and some requests, at a time of our own."""

    def __init__(self) -> None:
        self.now = 1000.0
        driver: Any = SimpleNamespace()
        self.database = Database("shop", "postgresql://shop", driver)
        self.database.heard_at = self.now
        self.cut: list[Link] = []
        self.cancelled: list[Any] = []
        self.live: set[Any] = set()
        self.sockets: set[Any] = set()
        self.door = SimpleNamespace(cutting=False, close=lambda: None)
        stage = SimpleNamespace(door=self.door, replay=SimpleNamespace(live=self.live, door=self.door))
        hold: Any = SimpleNamespace(
            registry=[self.database],
            sockets=self.sockets,
            settings=SimpleNamespace(suspect_after_s=SUSPECT_S),
        )
        front: Any = SimpleNamespace(stage=lambda: stage, opened=None)
        self.floor = Floor(hold, front)

    def sent(self, request: Request | None, **about: Any) -> Link:
        """A statement of *request*, sent now."""
        link = Link(object(), 0, self.now, lambda: self.cut.append(link), None)
        link.began, link.out, link.request = self.now, True, request
        for name, value in about.items():
            setattr(link, name, value)
        self.database.links[id(link)] = link
        return link

    def after(self, seconds: float) -> list[Link]:
        """Which connections have been ended when the stop has looked again, *seconds* later."""
        self.now += seconds
        self.floor.answer_held()
        return self.cut

    def exchange(self, receive: Any) -> Any:
        """A request whose body comes from *receive*."""
        task = SimpleNamespace(cancel=lambda: self.cancelled.append(one))
        one = SimpleNamespace(request=request(), body=Body(request(), receive, 65536), task=task)
        one = _Hashable(one)
        self.live.add(one)
        return one


class _Hashable:
    def __init__(self, like: Any) -> None:
        self.request, self.body = like.request, like.body
        self.task = SimpleNamespace(cancel=like.task.cancel)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    one = Scene()
    monkeypatch.setattr(module, "monotonic", lambda: one.now)
    yield one
    one.database.links.clear()


def request(method: str = "GET", kind: str = "http") -> Request:
    return Request("1", method, "/", 0.0, 0.0, None, kind)


def test_who_can_run_again_does_not_wait_for_a_silent_database(scene: Scene) -> None:
    link = scene.sent(request())

    assert scene.after(SUSPECT_S) == []
    assert scene.after(MARGIN_S + 0.01) == [link]


def test_nor_do_those_who_take_their_place(scene: Scene) -> None:
    """Or each of them would hold the stop as long again."""
    scene.sent(request())
    scene.after(SILENT_S)
    scene.database.links.clear()
    ended = []
    scene.database.connecting[1] = Opening(scene.now, lambda: ended.append(1))
    scene.after(0.02)

    assert ended == [1]


def test_a_slow_query_of_a_database_that_is_heard_is_waited_for(scene: Scene) -> None:
    scene.sent(request())
    scene.now += SUSPECT_S
    scene.database.vouched_at = scene.now

    assert scene.after(SUSPECT_S) == []


def test_what_nobody_could_run_again_is_waited_for(scene: Scene) -> None:
    write = request("POST")
    write.ledger.sent = 1
    scene.sent(write)
    scene.sent(request(), committing=True)

    assert scene.after(SILENT_S) == []


def test_idle_connections_to_silence_are_not_closed_politely(scene: Scene) -> None:
    asked = scene.sent(request())
    idle = scene.sent(None, began=0.0, out=False)

    assert scene.after(SILENT_S) == [asked, idle]


async def test_a_websocket_is_told_of_silence_before_it_is_cancelled(scene: Scene) -> None:
    link = scene.sent(request(kind="websocket"))
    task = asyncio.create_task(asyncio.Event().wait())
    scene.sockets.add(task)
    scene.now += QUIET_S + 0.01
    scene.floor.end_sockets()

    assert scene.cut == [link]
    assert task.cancelling() == 0
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_body_that_stalls_is_not_waited_for(scene: Scene) -> None:
    one = scene.exchange(asyncio.Event().wait)
    reading = asyncio.create_task(one.body.receive())
    await asyncio.sleep(0)
    scene.after(0)

    scene.after(STALLED_S)
    assert scene.cancelled == []
    scene.after(0.01)
    assert len(scene.cancelled) == 1
    assert scene.door.cutting
    reading.cancel()


async def test_one_that_arrives_is(scene: Scene) -> None:
    parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    one = scene.exchange(parts.get)

    async def reads() -> None:
        while True:
            await one.body.receive()

    reading = asyncio.create_task(reads())
    for _ in range(5):
        parts.put_nowait({"type": "http.request", "body": b"part", "more_body": True})
        while not parts.empty():
            await asyncio.sleep(0)
        scene.after(STALLED_S)

    assert scene.cancelled == []
    one.request.started = True  # and who answers already is never cut
    scene.after(STALLED_S)
    scene.after(STALLED_S)
    assert scene.cancelled == []
    reading.cancel()
