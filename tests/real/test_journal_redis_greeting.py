"""Before a journal is entrusted to a Redis, it is asked what it is; what it would lose is told (JRN-5)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from journaled import ROOM, a_new, accepted, known

from holdfast.drill.redis import Redis
from holdfast.drill.servers import real_server
from holdfast.events import Bus, Event
from holdfast.work.journal import JournalUnusableError
from holdfast.work.journal_redis import JournalNotDurable, open_redis
from holdfast.work.opening import Place, open_journal
from holdfast.work.sealing import Seal


@pytest.fixture
def server() -> Iterator[Redis]:
    with real_server("redis", durable=True) as server:
        yield server


@pytest.fixture
def asking(server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url(), decode_responses=True) as client:
        yield client


def losses(url: str) -> dict[str, str]:
    bus = Bus()
    told: dict[str, str] = {}

    def hear(event: Event) -> None:
        assert isinstance(event, JournalNotDurable)
        told[event.setting] = event.value

    bus.subscribe(hear)
    open_redis(url, max_bytes=ROOM, bus=bus).close()
    return told


def test_a_redis_that_would_lose_something_is_told(server: Redis, asking: redis.Redis) -> None:
    """JRN-5: AOF."""
    assert losses(server.url()) == {}
    asking.config_set("appendfsync", "everysec")
    assert losses(server.url()) == {"appendfsync": "everysec"}
    asking.config_set("maxmemory", "100mb")
    asking.config_set("maxmemory-policy", "allkeys-lru")
    asking.config_set("appendonly", "no")
    assert losses(server.url()) == {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}


def test_a_redis_that_does_not_tell_its_settings_is_used_and_that_is_told(
    server: Redis, asking: redis.Redis
) -> None:
    asking.acl_setuser(
        "app", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all", "-@dangerous"]
    )
    url = server.url().replace("redis://", "redis://app:pw@")

    assert losses(url) == {"CONFIG GET": "refused"}


def test_who_may_not_enter_is_refused_at_once() -> None:
    with real_server("redis", password="hunter2") as server:
        for password in ("wrong", ""):
            with pytest.raises(JournalUnusableError, match="refuses us"):
                open_redis(server.url(password=password), max_bytes=ROOM)
    with pytest.raises(JournalUnusableError, match="HOLDFAST_JOURNAL_URL is not a URL of Redis"):
        open_redis("http://localhost", max_bytes=ROOM)


def test_a_newer_journal_is_refused_and_not_touched(server: Redis, asking: redis.Redis) -> None:
    asking.hset("holdfast:{journal}:meta", "layout", "2")

    with pytest.raises(JournalUnusableError, match="layout 2, and this version of holdfast knows 1: update"):
        open_redis(server.url(), max_bytes=ROOM)
    assert asking.keys() == ["holdfast:{journal}:meta"]


def test_what_is_no_journal_is_refused(server: Redis, asking: redis.Redis) -> None:
    asking.set("holdfast:{journal}:meta", "mine")

    with pytest.raises(JournalUnusableError, match="holds something else"):
        open_redis(server.url(), max_bytes=ROOM)


def test_a_sealed_journal_hides_what_was_sent_and_is_opened_with_its_key_only(
    server: Redis, asking: redis.Redis
) -> None:
    """JRN-1: encrypted at rest."""
    sealed = open_redis(server.url(), max_bytes=ROOM, seal=Seal("the right secret"))
    (number,) = accepted(sealed, "a")
    with redis.Redis.from_url(server.url()) as client:
        ((_, stored),) = client.xrange("holdfast:{journal}:accepted")

    assert a_new("a").body not in stored[b"request"]
    for seal in (Seal("another secret"), None):
        with pytest.raises(JournalUnusableError, match="sealed with another key"):
            open_redis(server.url(), max_bytes=ROOM, seal=seal)
    again = open_redis(server.url(), max_bytes=ROOM, seal=Seal("the right secret"))
    assert known(again, number).new == a_new("a")
    again.close()
    assert sealed.drop(number).result()
    sealed.close()
    open_redis(server.url(), max_bytes=ROOM, seal=Seal("another secret")).close()  # nothing was sealed


def test_whoever_may_not_begin_a_seal_leaves_it_as_it_is(server: Redis, tmp_path: Path) -> None:
    """JRN-1: a mistyped key of `holdfast journal` must not lock out the servers."""
    plain = Place(folder=tmp_path, max_bytes=ROOM, url=server.url())
    ours = replace(plain, key="the right secret")
    another = replace(plain, key="mistyped")
    open_journal(plain).close()

    with pytest.raises(JournalUnusableError, match="is not sealed; leave HOLDFAST_JOURNAL_KEY out"):
        open_journal(another, begins_seal=False)
    open_journal(plain).close()
    with closing(open_journal(ours)) as journal:  # sealed from now on, and empty
        with pytest.raises(JournalUnusableError, match="sealed with another key"):
            open_journal(another, begins_seal=False)
        (number,) = accepted(journal, "a")
        with closing(open_journal(ours, begins_seal=False)) as looking:
            assert known(looking, number).new == a_new("a")


def test_what_was_journaled_before_there_was_a_key_is_still_read(server: Redis) -> None:
    plain = open_redis(server.url(), max_bytes=ROOM)
    (number,) = accepted(plain, "a")
    plain.close()

    sealed = open_redis(server.url(), max_bytes=ROOM, seal=Seal("a secret"))

    assert known(sealed, number).new == a_new("a")
    sealed.close()
