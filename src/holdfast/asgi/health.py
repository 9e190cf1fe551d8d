"""What holdfast says of itself: alive, ready, in detail, the database, started; and the metrics.

Liveness does no I/O at all. Readiness answers from what the watch knows, and asks afresh only
when that is older than five seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from holdfast.asgi.door import Door
from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database

KNOWN_FOR_S = 5.0
ASK_FOR_S = 1.0
Body = dict[str, Any]
Reply = tuple[int, Body | bytes]


@dataclass(slots=True)
class Vital:
    """What the runtime tells the health pages: one owner, the composition root."""

    app_env: str = "production"
    port: int | None = None
    started_at: float = field(default_factory=monotonic)
    phase: str = "starting"
    phases: list[tuple[str, float]] = field(default_factory=list)
    started: bool = False
    draining: bool = False


class Health:
    """The endpoints, as functions from nothing to a status and a body."""

    def __init__(
        self, registry: Registry, door: Door, vital: Vital, metrics: Callable[[], bytes], *, detailed: bool
    ) -> None:
        self._registry = registry
        self._door = door
        self._vital = vital
        self._metrics = metrics
        self._detailed = detailed  # whether strangers may see hosts, versions and memory
        self.journal: Callable[[], Body] | None = None  # how much waits in it, where there is one

    def routes(self) -> dict[str, Callable[[], Awaitable[Reply]]]:
        """The endpoint of each path, without the prefix under which all are always reachable."""
        return {
            "/health": self.alive,
            "/livez": self.alive,
            "/api/health": self.ready,
            "/readyz": self.ready,
            "/api/health/detailed": self.detailed,
            "/health/db": self.database,
            "/startupz": self.startup,
            "/metrics": self.metrics,
        }

    @property
    def settled(self) -> bool:
        """Whether every database answers, and nothing speaks against any."""
        return all(one.settled for one in self._registry)

    async def alive(self) -> Reply:
        """200 while the process lives."""
        return 200, {"status": "ok", "service": "alive", **self._times()}

    async def ready(self) -> Reply:
        """200 when requests can be served, 503 when not."""
        await self._refresh()
        vital = self._vital
        down = [one for one in self._registry if one.away]
        doubtful = [one for one in self._registry if not one.settled]
        ok = vital.started and not vital.draining and not down
        status = "unhealthy" if not ok else "degraded" if doubtful else "healthy"
        body: Body = {
            "ok": ok,
            "status": status,
            "database": self._figures(self._worst()),
            "circuitBreaker": self._breaker(self._worst()),
            "checks": {one.name: _check(one) for one in self._registry} | self._journal_check(),
            **self._times(),
        }
        if vital.draining:
            body["reason"] = "draining"
        elif not vital.started:
            body["reason"] = f"starting: {vital.phase}"
        return (200 if ok else 503), body

    async def detailed(self) -> Reply:
        """Readiness, and what is around it. Open in development only."""
        if not self._detailed:
            return 404, {"error": "not found", "hint": "detailed health is open in development"}
        began = monotonic()
        status, body = await self.ready()
        assert isinstance(body, dict)
        import platform

        import psutil

        process = psutil.Process()
        memory = process.memory_info()
        worst = self._worst()
        body.update(
            host=platform.node(),
            poolSize=worst.pool()["size"] if worst else 0,
            checkTimeMs=round((monotonic() - began) * 1000, 3),
            environment=self._vital.app_env,
            port=self._vital.port,
            memory={"rss": memory.rss, "heap": getattr(memory, "data", memory.vms)},
            versions={"python": platform.python_version(), "holdfast": _version("holdfast"), **_libraries()},
            phases=[{"phase": name, "durationMs": round(ms, 1)} for name, ms in self._vital.phases],
            pid=os.getpid(),
        )
        return status, body

    async def database(self) -> Reply:
        """The database alone."""
        await self._refresh()
        worst = self._worst()
        healthy = worst is None or not worst.away
        pool = worst.pool() if worst else {"size": 0, "idle": 0}
        latency = worst.latency_s if worst else None
        return (200 if healthy else 503), {
            "healthy": healthy,
            "database": {
                "connected": healthy,
                "latencyMs": None if latency is None else round(latency * 1000, 3),
                "poolSize": pool["size"],
                "availableConnections": pool["idle"],
            },
            "timestamp": _now(),
        }

    async def startup(self) -> Reply:
        """200 once startup is over."""
        started = self._vital.started
        return (200 if started else 503), {"started": started, "phase": self._vital.phase, **self._times()}

    async def metrics(self) -> Reply:
        """The metrics in Prometheus' text format."""
        return 200, self._metrics()

    # ---- inside ---------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """Ask the databases that have been silent for a while, all at once, for a bounded time."""
        watch = self._registry.watch
        if watch is None:
            return
        now = monotonic()
        stale = [
            one
            for one in self._registry
            if not one.away and one.driver.networked and now - one.known_at() > KNOWN_FOR_S
        ]
        if stale:
            asking = [asyncio.wrap_future(watch.ask(watch.beat(one))) for one in stale]
            await asyncio.wait(asking, timeout=ASK_FOR_S)

    def _worst(self) -> Database | None:
        return max(self._registry, key=lambda one: (one.away, not one.settled), default=None)

    def _figures(self, database: Database | None) -> Body | None:
        if database is None:
            return None
        pool = database.pool()
        return {
            "connected": not database.away,
            "responsive": database.settled,
            "state": database.state_name,
            "totalConnections": pool["size"],
            "idleConnections": pool["idle"],
            "activeConnections": pool["active"],
            "waitingQueue": self._door.waiting_for(database.name),
        }

    def _breaker(self, database: Database | None) -> Body:
        """The database's state in the words of a circuit breaker: its probe is the trial."""
        if database is None or database.settled:
            return {"state": "closed", "failureCount": 0, "threshold": 1}
        attempts = getattr(database.state, "attempts", 0)
        return {"state": "open" if database.away else "half-open", "failureCount": attempts, "threshold": 1}

    def _journal_check(self) -> Body:
        return {} if self.journal is None else {"journal": self.journal()}

    def _times(self) -> Body:
        return {"uptime": round(monotonic() - self._vital.started_at, 3), "timestamp": _now()}


def _check(database: Database) -> Body:
    status = "down" if database.away else "up" if database.settled else "suspect"
    body: Body = {"status": status, "vital": True}
    away_since = database.away_since
    if away_since is not None:
        body["awayForSeconds"] = round(monotonic() - away_since, 3)
    return body


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _libraries() -> dict[str, str]:
    known = ("uvicorn", "starlette", "fastapi", "litestar", "sqlalchemy", "asyncpg", "psycopg")
    found = ((name, _version(name)) for name in known if name in sys.modules)
    return {name: version for name, version in found if version is not None}
