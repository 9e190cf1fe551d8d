"""The health pages, key by key: front ends and orchestrators read them (HLT-1 to HLT-4)."""

from __future__ import annotations

import concurrent.futures
import contextlib
from datetime import datetime
from typing import Any

import pytest
from asgi_stage import Pool, ServerClock, away, suspect

from holdfast.asgi.door import Door, Rules
from holdfast.asgi.health import Health, Vital
from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database


class Ward:
    """Health over a registry with one database, or none."""

    def __init__(self, clock: ServerClock, *, databases: int = 1, detailed: bool = True) -> None:
        self.registry = Registry()
        for number in range(databases):
            place, name = (f"db-{number}",), f"db-{number}"
            database = self.registry.adopt(place, name, "db:5432", Pool)
            database.clock = clock
        self.vital = Vital(app_env="test", port=8000, started_at=clock.now, phase="ready", started=True)
        self.door = Door(Rules(), lambda *_: None)
        self.health = Health(self.registry, self.door, self.vital, lambda: b"metrics", detailed=detailed)
        clock.now += 12.5

    @property
    def main(self) -> Database:
        return next(iter(self.registry))


def is_moment(text: Any) -> bool:
    return datetime.fromisoformat(text).tzinfo is not None


async def test_alive(clock) -> None:
    """HLT-1."""
    status, body = await Ward(clock).health.alive()

    assert status == 200
    assert is_moment(body.pop("timestamp"))
    assert body == {"status": "ok", "service": "alive", "uptime": 12.5}


async def test_alive_while_everything_is_away(clock) -> None:
    ward = Ward(clock)
    away(ward.main)
    ward.vital.draining, ward.vital.started = True, False

    assert (await ward.health.alive())[0] == 200


async def test_ready(clock) -> None:
    """HLT-2: these keys and no others."""
    status, body = await Ward(clock).health.ready()

    assert status == 200
    assert is_moment(body.pop("timestamp"))
    assert body == {
        "ok": True,
        "status": "healthy",
        "database": {
            "connected": True,
            "responsive": True,
            "state": "connected",
            "totalConnections": 2,
            "idleConnections": 1,
            "activeConnections": 1,
            "waitingQueue": 0,
        },
        "circuitBreaker": {"state": "closed", "failureCount": 0, "threshold": 1},
        "checks": {"db-0": {"status": "up", "vital": True}},
        "uptime": 12.5,
    }


async def test_not_ready_while_the_database_is_away(clock) -> None:
    ward = Ward(clock)
    away(ward.main)
    clock.now += 3

    status, body = await ward.health.ready()

    assert (status, body["ok"], body["status"]) == (503, False, "unhealthy")
    assert body["database"]["state"] == "disconnected"
    assert not body["database"]["connected"]
    assert body["circuitBreaker"] == {"state": "open", "failureCount": 1, "threshold": 1}
    assert body["checks"]["db-0"] == {"status": "down", "vital": True, "awayForSeconds": 3.0}


async def test_degraded_while_in_doubt(clock) -> None:
    ward = Ward(clock)
    suspect(ward.main)

    status, body = await ward.health.ready()

    assert (status, body["ok"], body["status"]) == (200, True, "degraded")
    assert body["circuitBreaker"]["state"] == "half-open"
    assert body["checks"]["db-0"]["status"] == "suspect"


async def test_the_worst_of_several_is_shown(clock) -> None:
    ward = Ward(clock, databases=3)
    away(list(ward.registry)[1])

    status, body = await ward.health.ready()

    assert status == 503
    assert body["database"]["state"] == "disconnected"
    assert {name: one["status"] for name, one in body["checks"].items()} == {
        "db-0": "up",
        "db-1": "down",
        "db-2": "up",
    }


async def test_ready_without_any_database(clock) -> None:
    status, body = await Ward(clock, databases=0).health.ready()

    assert (status, body["database"], body["checks"]) == (200, None, {})


@pytest.mark.parametrize(
    ("started", "draining", "reason"), [(True, True, "draining"), (False, False, "starting: databases")]
)
async def test_not_ready_while_starting_or_stopping(clock, started, draining, reason) -> None:
    """HLT-4: during shutdown readiness is 503 at once."""
    ward = Ward(clock)
    ward.vital.started, ward.vital.draining, ward.vital.phase = started, draining, "databases"

    status, body = await ward.health.ready()

    assert (status, body["ok"], body["reason"]) == (503, False, reason)


async def test_detailed(clock) -> None:
    """HLT-3."""
    ward = Ward(clock)
    ward.vital.phases.append(("listen", 1.26))

    status, body = await ward.health.detailed()

    assert status == 200
    assert {"host", "poolSize", "checkTimeMs", "environment", "port", "memory", "versions", "phases"} <= set(
        body
    )
    assert (body["environment"], body["port"], body["poolSize"]) == ("test", 8000, 2)
    assert body["phases"] == [{"phase": "listen", "durationMs": 1.3}]
    assert {"rss", "heap"} == body["memory"].keys()
    assert {"python", "holdfast"} <= body["versions"].keys()


async def test_detailed_is_closed_to_strangers_in_production(clock) -> None:
    """HLT-3, ERR-4."""
    status, body = await Ward(clock, detailed=False).health.detailed()

    assert status == 404
    assert set(body) == {"error", "hint"}


async def test_the_database_alone(clock) -> None:
    """HLT-4."""
    ward = Ward(clock)
    ward.main.latency_s = 0.0012345

    status, body = await ward.health.database()

    assert status == 200
    assert is_moment(body.pop("timestamp"))
    assert body == {
        "healthy": True,
        "database": {"connected": True, "latencyMs": 1.234, "poolSize": 2, "availableConnections": 1},
    }
    away(ward.main)
    status, body = await ward.health.database()
    assert (status, body["healthy"], body["database"]["connected"]) == (503, False, False)


async def test_started(clock) -> None:
    """HLT-4."""
    ward = Ward(clock)

    assert (await ward.health.startup())[0] == 200
    ward.vital.started, ward.vital.phase = False, "application"
    status, body = await ward.health.startup()
    assert (status, body["started"], body["phase"]) == (503, False, "application")


async def test_metrics(clock) -> None:
    assert await Ward(clock).health.metrics() == (200, b"metrics")


async def test_every_page_has_its_path(clock) -> None:
    assert set(Ward(clock).health.routes()) == {
        "/health",
        "/livez",
        "/api/health",
        "/readyz",
        "/api/health/detailed",
        "/health/db",
        "/startupz",
        "/metrics",
    }


class Asked:
    """A watch that notes whom it is asked about, and answers now or never."""

    def __init__(self, *, answers: bool = True) -> None:
        self.about: list[str] = []
        self.answers = answers

    def add(self, database: Database) -> None: ...

    async def beat(self, database: Database) -> None:
        self.about.append(database.name)

    def ask(self, question: Any) -> concurrent.futures.Future[None]:
        answer: concurrent.futures.Future[None] = concurrent.futures.Future()
        with contextlib.suppress(StopIteration):
            question.send(None)
        if self.answers:
            answer.set_result(None)
        return answer


def networked(ward: Ward, watch: Asked) -> None:
    ward.main.driver.networked = True
    ward.registry.watch = watch


async def test_what_is_known_is_fresh_enough_for_five_seconds(clock) -> None:
    ward, watch = Ward(clock), Asked()
    networked(ward, watch)
    ward.main.heard_at = clock.now - 4.9

    await ward.health.ready()
    assert watch.about == []
    clock.now += 0.2
    await ward.health.ready()
    assert watch.about == ["db-0"]


async def test_one_that_is_away_is_not_asked(clock) -> None:
    ward, watch = Ward(clock), Asked()
    networked(ward, watch)
    away(ward.main)

    await ward.health.ready()

    assert watch.about == []


def test_a_database_that_does_not_answer_holds_the_page_for_a_second(run, clock) -> None:
    async def story() -> tuple[int, Any]:
        ward, watch = Ward(clock), Asked(answers=False)
        networked(ward, watch)
        return await ward.health.ready()

    began = clock.now + 12.5
    status, _ = run(story())

    assert status == 200
    assert clock.now == began + 1.0
