"""DB-2, DB-3: the databases of a process, and the defaults for pools that an application left alone."""

from __future__ import annotations

import pytest
from fake_driver import FakeDriver

from holdfast.databases import asyncpg, psycopg
from holdfast.databases.adopt import PoolRules, Registry
from holdfast.databases.database import Database
from holdfast.databases.watch import Watch

HERE, THERE = ("postgresql", "db", 5432, "shop"), ("postgresql", "db", 5432, "stock")
RULES = PoolRules(active=True)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def adopt(
    registry: Registry, place: tuple[object, ...] = HERE, name: str = "shop", **driver: bool
) -> Database:
    return registry.adopt(place, name, "postgresql://db/shop", lambda: FakeDriver(**driver))


def test_engines_to_the_same_place_share_a_database(registry: Registry) -> None:
    one, other = adopt(registry), adopt(registry)

    assert one is other
    assert (len(registry), len(one.drivers)) == (1, 2)


def test_places_of_the_same_name_are_told_apart(registry: Registry) -> None:
    databases = [adopt(registry, (place,)) for place in ("a", "b", "c")]

    assert [one.name for one in databases] == ["shop", "shop-2", "shop-3"]
    assert registry.get("shop-2") is databases[1]
    assert registry.get("nothing") is None


def test_the_application_s_own_engine_takes_the_place_of_the_stand_in(registry: Registry) -> None:
    database = adopt(registry, provisional=True)
    adopt(registry)

    assert [one.provisional for one in database.drivers] == [False]


def test_listeners_hear_of_each_database_once_until_they_stop(registry: Registry) -> None:
    heard: list[str] = []
    stop = registry.listen(lambda one: heard.append(one.name))
    adopt(registry)
    adopt(registry)
    adopt(registry, THERE, "stock")
    stop()
    adopt(registry, ("elsewhere",), "other")

    assert heard == ["shop", "stock"]


def test_a_watch_looks_after_those_known_and_those_to_come(registry: Registry) -> None:
    watch = Watch()
    known = adopt(registry)
    registry.watched_by(watch)
    later = adopt(registry, THERE)

    assert set(watch._posts) == {known, later}


def test_after_the_watch_nobody_is_told(registry: Registry) -> None:
    database = adopt(registry)
    registry.watched_by(Watch())
    registry.watched_by(None)
    database.broken("reset")

    assert (registry.watch, database.settled) == (None, True)


def test_asyncpg_gets_our_limits_where_the_application_chose_none() -> None:
    """DB-3."""
    tuned = asyncpg.tune({"host": "db"}, RULES)

    assert tuned == {"host": "db", "timeout": 10.0, "server_settings": {"statement_timeout": "30000"}}


def test_what_the_application_chose_for_asyncpg_wins() -> None:
    chosen = {"timeout": 3, "ssl": "disable", "server_settings": {"statement_timeout": "5", "jit": "off"}}

    assert asyncpg.tune(chosen, PoolRules(active=True, ssl="require")) == chosen


def test_asyncpg_s_own_parameters_are_left_as_they_are() -> None:
    settings = {"jit": "off"}
    asyncpg.tune({"server_settings": settings}, RULES)

    assert settings == {"jit": "off"}


def test_a_pooler_that_refuses_startup_settings_gets_none_from_us() -> None:
    tuned = asyncpg.tune({"server_settings": {"jit": "off"}}, RULES)

    assert asyncpg.untune(tuned)["server_settings"] == {"jit": "off"}


def test_psycopg_gets_our_limits_where_the_application_chose_none() -> None:
    tuned = psycopg.tune({"host": "db"}, RULES)

    assert tuned == {"host": "db", "connect_timeout": 10, "options": "-c statement_timeout=30000"}


def test_what_the_application_chose_for_psycopg_wins() -> None:
    chosen = {"connect_timeout": 3, "sslmode": "disable", "options": "-c statement_timeout=5"}

    assert psycopg.tune(chosen, PoolRules(active=True, ssl="require")) == chosen


def test_what_libpq_reads_from_the_environment_is_the_applications_choice_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DB-3, PRM-5: a parameter of ours would take the place of all of it."""
    monkeypatch.setenv("PGOPTIONS", "-c search_path=shop")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    rules = PoolRules(active=True, ssl="require")

    assert psycopg.tune({}, rules) == {"options": "-c search_path=shop -c statement_timeout=30000"}
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=1234")
    assert psycopg.tune({}, rules) == {}
    assert psycopg.tune({"options": "-c jit=off"}, rules)["options"].startswith("-c jit=off -c statement")


def test_a_statement_timeout_among_asyncpg_s_options_wins() -> None:
    chosen = {"timeout": 3, "server_settings": {"options": "-c statement_timeout=99"}}

    assert asyncpg.tune(chosen, RULES) == chosen


def test_psycopg_s_options_are_kept_beside_ours_and_without_them() -> None:
    tuned = psycopg.tune({"options": "-c jit=off"}, RULES)

    assert tuned["options"] == "-c jit=off -c statement_timeout=30000"
    assert psycopg.untune(tuned)["options"] == "-c jit=off"


@pytest.mark.parametrize("library", [asyncpg, psycopg])
def test_a_statement_timeout_of_zero_is_none(library: object) -> None:
    tuned = library.tune({}, PoolRules(active=True, statement_timeout=0))  # type: ignore[attr-defined]

    assert "statement_timeout" not in repr(tuned)


def test_ssl_is_asked_for_where_the_settings_do() -> None:
    rules = PoolRules(active=True, ssl="require")

    assert asyncpg.tune({}, rules)["ssl"] == "require"
    assert psycopg.tune({}, rules)["sslmode"] == "require"


class Closed:
    """A psycopg connection that another thread has closed."""

    closed = True

    def fileno(self) -> int:
        raise RuntimeError("the connection is closed")


def test_a_psycopg_connection_that_is_closed_has_no_socket_to_end() -> None:
    """It raises an error of its own then, which is no OSError."""
    psycopg.aborter(Closed())()

    assert psycopg.fileno(Closed())() == -1
