"""Reaching the databases at startup: attempts, backoff, and messages worth reading (BOOT-2, BOOT-3, DB-9)."""

from __future__ import annotations

import concurrent.futures
from random import Random
from typing import Any

import pytest

from holdfast.databases.database import Database
from holdfast.events import Bus, ConnectAttempted, Event
from holdfast.faults.classify import classify
from holdfast.runtime.reach import Patience, failure, is_hopeless, is_there, reach, start_without
from holdfast.settings.failure import Exit, StartFailure

TARGET = "postgresql://app:***@db:5432/shop"


class PostgresError(Exception):
    """As asyncpg's: an exception with a SQLSTATE."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


class PsycopgError(Exception):
    """As psycopg's, which has no SQLSTATE for a connection that fails."""


PsycopgError.__module__, PsycopgError.__qualname__ = "psycopg", "OperationalError"
PostgresError.__module__ = "asyncpg.exceptions"

REFUSED = ConnectionRefusedError(111, "Connection refused")
PASSWORD = PostgresError("28P01", 'password authentication failed for user "app"')
UNKNOWN_PARAMETER = TypeError("connect() got an unexpected keyword argument 'sslmode'")
NO_OPTION = PsycopgError('invalid connection option "ssl"')
NO_SSL = ConnectionError('PostgreSQL server at "db:5432" rejected SSL upgrade')
SSL_REQUIRED = PsycopgError("connection failed: server does not support SSL, but SSL was required")
NO_ROOT = PsycopgError('root certificate file "/root/.postgresql/root.crt" does not exist')
NO_MODE = PsycopgError('connection is bad: invalid sslmode value: "foo"')
UNENCRYPTED = PostgresError("28000", 'no pg_hba.conf entry for host "::1", user "app", no encryption')
REJECTED = PsycopgError(
    'connection failed: FATAL: pg_hba.conf rejects connection for host "::1", user "app", no encryption'
)
NO_VALUE = PsycopgError('connection failed: FATAL: invalid value for parameter "search_path"')
MISTAKES = [UNKNOWN_PARAMETER, TypeError("an integer is required"), NO_OPTION, NO_SSL, SSL_REQUIRED, NO_ROOT,
            NO_MODE, NO_VALUE]  # fmt: skip
NO_DATABASE = PostgresError("3D000", 'database "shop" does not exist')


class Driver:
    library = "asyncpg"
    networked = True
    provisional = False

    async def knock(self) -> None: ...

    async def open(self) -> Any: ...

    def crowded(self) -> bool:
        return False

    def pool(self) -> dict[str, int]:
        return {}


class Watch:
    """Answers each attempt as scripted; the last answer is repeated."""

    def __init__(self, *script: BaseException | None) -> None:
        self.script = list(script)
        self.timeouts: list[float] = []

    def connect(self, database: Database, timeout: float) -> float:
        return timeout

    def ask(self, timeout: float) -> concurrent.futures.Future[None]:
        self.timeouts.append(timeout)
        answer: concurrent.futures.Future[None] = concurrent.futures.Future()
        error = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
        return answer


def untold(*words: object) -> None:
    raise AssertionError(words)


@pytest.fixture
def database() -> Database:
    return Database("main", TARGET, Driver())


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited between attempts; nobody really waits."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr("holdfast.runtime.reach.asyncio.sleep", sleep)
    return seconds


class Story:
    def __init__(self, database: Database, watch: Watch, attempts: int = 5) -> None:
        self.database, self.watch, self.attempts = database, watch, attempts
        self.events: list[Event] = []

    async def run(self, seed: int = 7) -> None:
        bus = Bus()
        bus.subscribe(self.events.append)
        await reach([self.database], self.watch, Patience(self.attempts, 2.5), Random(seed), bus)

    @property
    def told(self) -> list[ConnectAttempted]:
        return [one for one in self.events if isinstance(one, ConnectAttempted)]


async def test_one_that_answers_is_asked_once(database, slept) -> None:
    story = Story(database, Watch(None))
    await story.run()

    assert story.watch.timeouts == [2.5]
    assert (story.events, slept) == ([], [])


async def test_one_that_is_late_is_asked_again(database, slept) -> None:
    story = Story(database, Watch(REFUSED, REFUSED, None))
    await story.run()

    assert [one.attempt for one in story.told] == [1, 2]
    assert len(slept) == 2


async def test_attempts_are_bounded_and_the_wait_doubles_with_full_jitter(database, slept) -> None:
    """BOOT-3: 0.2 s doubling to 5 s; each told with number, cause, target, time-out and next delay."""
    story = Story(database, Watch(REFUSED), attempts=8)

    with pytest.raises(StartFailure):
        await story.run(seed=3)

    dice = Random(3)
    assert slept == [dice.random() * most for most in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)]
    assert len(story.watch.timeouts) == 8
    first, last = story.told[0], story.told[-1]
    assert (first.attempt, first.attempts, first.target, first.timeout_s) == (1, 8, TARGET, 2.5)
    assert first.next_s == round(slept[0], 3)
    assert "Connection refused" in first.cause
    assert (last.attempt, last.next_s) == (8, None)


@pytest.mark.parametrize("error", [PASSWORD, NO_DATABASE, UNENCRYPTED, REJECTED, *MISTAKES], ids=str)
async def test_what_no_waiting_cures_is_not_tried_again(database, slept, error) -> None:
    """BOOT-3: a mistake in how we are told to connect is none that the database could mend."""
    story = Story(database, Watch(error))

    with pytest.raises(StartFailure, match="1 attempt"):
        await story.run()
    assert slept == []
    assert is_hopeless(error)


async def test_a_local_file_is_not_reached_for(database) -> None:
    database.driver.networked = False
    story = Story(database, Watch(REFUSED))
    await story.run()

    assert story.watch.timeouts == []


async def test_a_guessed_driver_that_does_not_fit_is_no_failure(database, slept) -> None:
    database.driver.provisional = True
    for error in (RuntimeError("unexpected option"), *MISTAKES):
        await Story(database, Watch(error)).run()
        absent = await start_without([database], Watch(error), 1.0, untold)

        assert not absent
    assert slept == []


@pytest.mark.parametrize("error", MISTAKES, ids=str)
async def test_a_mistake_is_no_database_that_is_away(database, error) -> None:
    """BOOT-2: in development too, where a start goes on without one: it would never become ready."""
    with pytest.raises(StartFailure) as caught:
        await start_without([database], Watch(error), 1.0, untold)

    assert "Start the database" not in caught.value.action


async def test_what_the_absent_one_said_is_told(database) -> None:
    """BOOT-2, DB-9."""
    told: list[tuple[object, ...]] = []
    error = ConnectionRefusedError(111, "refused by postgresql://app:hunter2@db/shop")

    assert await start_without([database], Watch(error), 1.0, lambda *words: told.append(words))
    ((_, _, fields),) = told
    assert fields["cause"] == ("ConnectionRefusedError: [Errno 111] refused by postgresql://app:***@db/shop")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, ["Start the database", "HOLDFAST_START_WITHOUT_DATABASE=true", "CONNECT_ATTEMPTS"]),
        (PASSWORD, ["refused the user or the password", "DATABASE_URL", "CREATE ROLE"]),
        (NO_DATABASE, ["no database of that name", "createdb"]),
        (PostgresError("53300", "too many clients"), ["max_connections", "DB_POOL_MAX"]),
        (UNKNOWN_PARAMETER, ["asyncpg takes ssl=, not sslmode="]),
        (NO_OPTION, ["psycopg takes sslmode=, not ssl="]),
        (TypeError("an integer is required"), ["connect_args"]),
        (NO_SSL, ["offers no SSL", "DB_SSL"]),
        (SSL_REQUIRED, ["offers no SSL", "prefer"]),
        (NO_ROOT, ["PGSSLROOTCERT"]),
        (NO_MODE, ["verify-full"]),
        (PsycopgError("`sslmode` parameter must be one of: disable"), ["verify-full"]),
        (NO_VALUE, ["a parameter of the connection"]),
        (UNENCRYPTED, ["DB_SSL=require"]),
        (REJECTED, ["DB_SSL=require"]),
        (OSError("[Errno -2] Name or service not known"), ["host name", "DNS"]),
    ],
    ids=str,
)
async def test_the_message_names_the_target_the_cause_and_the_next_step(
    database, slept, error, words
) -> None:
    """BOOT-2: the redacted URL, the cause and the cure."""
    with pytest.raises(StartFailure) as caught:
        await Story(database, Watch(error), attempts=1).run()

    told = caught.value
    assert (told.phase, told.exit_status) == ("databases", Exit.UNAVAILABLE)
    assert TARGET in told.description
    assert str(error).split("'")[0] in told.description
    for word in words:
        assert word in told.action
    assert told.__cause__ is error


async def test_no_secret_gets_into_it(database) -> None:
    """DB-9."""
    error = OSError("cannot parse postgresql://app:hunter2@db/shop")
    told = failure(database, error, classify(error), 1)

    assert "hunter2" not in str(told)


async def test_silence_is_called_that(database, slept) -> None:
    with pytest.raises(StartFailure, match="no answer in time"):
        await Story(database, Watch(TimeoutError()), attempts=2).run()


async def test_is_there(database) -> None:
    assert await is_there(database, Watch(None), 1.0) is None
    assert await is_there(database, Watch(REFUSED), 1.0) is REFUSED
