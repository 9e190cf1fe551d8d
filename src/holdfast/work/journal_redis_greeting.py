"""What has to be known of a Redis before a journal is entrusted to it: asked on every new connection.

Whether the journal there is one that we can read, whether our key is its key, and what of it would be
lost when Redis restarts, its machine fails, or its memory ends. That is told once for each reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.exceptions import ResponseError

from holdfast.events import Bus, Event
from holdfast.work.journal import JournalUnusableError
from holdfast.work.journal_redis_rows import Rows
from holdfast.work.journal_redis_scripts import LAYOUT, SCRIPTS
from holdfast.work.sealing import refuse_unsealed

OLDEST: Final = (6, 2)
_WAITAOF: Final = (7, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalNotDurable(Event):
    """The server that keeps the journal is set up so that it can lose what was accepted."""

    name = "journal_not_durable"
    level = "warning"
    place: str
    setting: str
    value: str
    loses: str


class Greeting:
    """Greets each server that the journal at *place* comes to stand on."""

    def __init__(self, place: str, keys: tuple[str, ...], rows: Rows, bus: Bus) -> None:
        self._place = place
        self._keys = keys
        self._rows = rows
        self._bus = bus
        self._told: set[tuple[str, str]] = set()

    def __call__(self, client: redis.Redis) -> bool:
        """Whether WAITAOF has to be awaited so that an answer means that what was written is synced.

        Raises JournalUnusableError: too old a server, a newer journal, none at all, another key.
        """
        version = _version(client)
        if version is not None and version < OLDEST:
            found, wanted = (".".join(map(str, one)) for one in (version[:2], OLDEST))
            raise JournalUnusableError(f"{self._place} is Redis {found}; a journal needs {wanted} or later")
        self._open(client)
        settings = _settings(client)
        awaits_sync = settings.get("appendonly") != "no" and settings.get("appendfsync") != "always"
        awaits_sync = awaits_sync and version is not None and version >= _WAITAOF and _may_wait(client)
        for setting, value, loses in _losses(settings, awaits_sync):
            self._tell(setting, value, loses)
        return awaits_sync

    def _open(self, client: redis.Redis) -> None:
        """Begin the journal if there is none."""
        offered = self._rows.proof()
        arguments = [] if offered is None else [offered]
        try:
            found: Any = client.eval(SCRIPTS["open"], len(self._keys), *self._keys, 0, *arguments)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            what = f"{self._place} holds something else under {self._keys[0]!r}; name another journal"
            raise JournalUnusableError(what) from None
        layout, *proofs = found
        if not layout.isdigit() or int(layout) > LAYOUT:
            told = layout.decode(errors="replace") or "unknown"
            raise JournalUnusableError(
                f"{self._place} holds a journal of layout {told}, and this version of holdfast"
                f" knows {LAYOUT}: update holdfast, or name another journal"
            )
        proof = proofs[0] if proofs else None
        if proof is None and self._rows.sealed:
            refuse_unsealed(self._place)
        if not self._rows.adopt(proof):
            raise JournalUnusableError(
                f"{self._place} was sealed with another key than HOLDFAST_JOURNAL_KEY; set the one it was"
                " sealed with, or name another journal"
            )

    def _tell(self, setting: str, value: str, loses: str) -> None:
        if (setting, value) not in self._told:
            self._told.add((setting, value))
            self._bus.publish(JournalNotDurable(place=self._place, setting=setting, value=value, loses=loses))


def _version(client: redis.Redis) -> tuple[int, ...] | None:
    """None when we may not ask."""
    try:
        told: Any = client.info("server")
    except ResponseError:
        return None
    return tuple(int(part) for part in str(told["redis_version"]).split(".") if part.isdigit())


def _settings(client: redis.Redis) -> dict[str, str]:
    """What concerns durability; nothing when we may not ask."""
    try:
        found: dict[Any, Any] = {}
        for pattern in ("append*", "maxmemory*"):
            asked: Any = client.config_get(pattern)
            found |= asked
    except ResponseError:
        return {}
    return {_text(name): _text(value) for name, value in found.items()}


def _may_wait(client: redis.Redis) -> bool:
    """Whether WAITAOF is there for us: clouds and access lists may withhold it, or the file be off."""
    try:
        client.execute_command("WAITAOF", 1, 0, 1)  # type: ignore[no-untyped-call]
    except ResponseError:
        return False
    return True


def _losses(settings: dict[str, str], awaits_sync: bool) -> Iterator[tuple[str, str, str]]:
    """Setting, value, and what is lost by it."""
    if not settings:
        if not awaits_sync:
            yield "CONFIG GET", "refused", "nobody knows what: make sure of appendfsync always, noeviction"
        return
    fsync = settings.get("appendfsync", "")
    if settings.get("appendonly") != "yes":
        yield "appendonly", settings.get("appendonly", ""), "all that waits, when Redis restarts"
    elif fsync != "always" and not awaits_sync:
        span = "a second" if fsync == "everysec" else "half a minute"
        yield "appendfsync", fsync, f"the last {span} of what was accepted, when the machine of Redis fails"
    policy = settings.get("maxmemory-policy", "")
    if policy.startswith("allkeys") and settings.get("maxmemory") != "0":
        yield "maxmemory-policy", policy, "the journal, when the memory of Redis is used up"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
