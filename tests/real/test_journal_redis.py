"""The journal in Redis loses nothing when Redis or a worker is stopped, paused, cut off or full (JRN-3)."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
import redis
from journaled import ANNA, BERT, DEAD, ROOM, a_new, accepted, ended, finished, known, leased, numbers

from holdfast.drill.proxy import Proxy
from holdfast.drill.redis import Redis, RedisOptions
from holdfast.drill.servers import real_server
from holdfast.events import Bus, Event
from holdfast.work.entry import State, name_of
from holdfast.work.events import JournalFailing
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal import JournalError, JournalFullError, JournalUnusableError
from holdfast.work.journal_redis import RedisJournal, open_redis


@pytest.fixture
def server() -> Iterator[Redis]:
    """A server of this test's own, to be hurt."""
    with real_server("redis", durable=True) as server:
        yield server


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def failing(bus: Bus) -> threading.Event:
    """Set once the journal has told that Redis is away."""
    seen = threading.Event()

    def hear(event: Event) -> None:
        if isinstance(event, JournalFailing):
            seen.set()

    bus.subscribe(hear)
    return seen


@pytest.fixture
def journal(server: Redis, bus: Bus) -> Iterator[RedisJournal]:
    journal = open_redis(server.url(), max_bytes=ROOM, bus=bus, patience_s=30.0, silence_s=0.5)
    yield journal
    journal.close()


@pytest.fixture
def asking(server: Redis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url(), decode_responses=True) as client:
        yield client


# ---- Redis is stopped, paused, or away ----------------------------------------------------------


def test_what_was_acknowledged_survives_redis_being_killed_again_and_again(
    server: Redis, journal: RedisJournal
) -> None:
    """JRN-3: 16: an acknowledged write is never lost; 17: and there only once."""
    futures: list[Future[int]] = []
    for round_ in range(4):
        futures += [journal.accept(a_new(f"{round_} {n}")) for n in range(150)]
        futures[-100].result()  # some of them have arrived, some are on their way
        server.restart("kill")

    given = [future.result() for future in futures]

    stored = journal.listed(None, 10_000).result()
    assert len(set(given)) == len(futures)
    assert sorted(given) == numbers(stored)
    assert {entry.new.name for entry in stored} == {name_of(f"{r} {n}") for r in range(4) for n in range(150)}


def test_what_is_leased_and_finished_while_redis_is_killed_runs_once(
    server: Redis, journal: RedisJournal
) -> None:
    given = accepted(journal, *(str(number) for number in range(120)))
    ran: list[int] = []
    ends: list[bool] = []

    def work() -> None:
        while numbers_ := leased(journal, 3, until=1e9):
            ran.extend(numbers_)
            ends.extend([finished(journal, number) for number in numbers_])

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(3):
        server.restart("kill")
    worker.join()

    assert sorted(ran) == given
    assert all(ends)
    assert journal.backlog().result().by_state["done"] == 120


def test_a_paused_redis_is_awaited(server: Redis, journal: RedisJournal, failing: threading.Event) -> None:
    (first,) = accepted(journal, "a")
    server.pause()
    accepting, leasing = journal.accept(a_new("b")), journal.lease(9, ANNA, 130.0, 100.0)

    assert failing.wait(20)
    assert not accepting.done()
    server.resume()

    second = accepting.result()
    assert set(numbers(leasing.result())) <= {first, second}
    assert [one.number for one in journal.listed(None, 9).result()] == [first, second]


def test_a_redis_that_stays_away_is_told_without_its_password() -> None:
    with real_server("redis", password="hunter2", durable=True) as server:
        journal = open_redis(server.url(), max_bytes=ROOM, patience_s=0.2, silence_s=0.2)
        accepted(journal, "a")
        server.stop()

        with pytest.raises(
            JournalError, match=r"redis://:\*\*\*@127.0.0.1.* gave no answer within 0.2 s"
        ) as told:
            accepted(journal, "b")
        assert "hunter2" not in str(told.value)
        assert "hunter2" not in journal.place
        server.start()
        assert len(accepted(journal, "a", "b")) == 2
        journal.close()


def test_a_redis_that_is_away_at_the_start_is_told_and_used_when_it_comes(
    server: Redis, bus: Bus, failing: threading.Event
) -> None:
    server.stop()

    journal = open_redis(server.url(), max_bytes=ROOM, bus=bus, patience_s=0.1, silence_s=0.2)

    assert failing.is_set()
    server.start()
    assert accepted(journal, "a") == [1]
    journal.close()


def test_a_redis_that_came_back_empty_is_given_a_new_journal(
    asking: redis.Redis, journal: RedisJournal
) -> None:
    accepted(journal, "a", "b")
    asking.flushall()

    assert accepted(journal, "c") == [1]
    assert leased(journal) == [1]


def test_the_node_of_a_cluster_that_has_the_journal_is_found_from_any_other() -> None:
    """JRN-5: the node comes and goes, too."""
    options = RedisOptions(durable=True, cluster=True)
    with Redis(options) as node, Redis(options) as other:
        with redis.Redis.from_url(other.url()) as asking, redis.Redis.from_url(node.url()) as waiting:
            asking.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            asking.execute_command("CLUSTER", "MEET", node.host, node.port)
            while b"cluster_state:ok" not in waiting.execute_command("CLUSTER", "INFO"):
                continue
        journal = open_redis(node.url(), max_bytes=ROOM, patience_s=30.0)

        (first,) = accepted(journal, "a")
        other.restart("kill")

        assert accepted(journal, "a", "b") == [first, first + 1]
        assert leased(journal) == [first, first + 1]
        journal.close()


# ---- an answer of Redis is lost -----------------------------------------------------------------


@pytest.fixture
def proxied(server: Redis) -> Iterator[Proxy]:
    with server.proxied() as proxy:
        yield proxy


@pytest.fixture
def far(server: Redis, proxied: Proxy) -> Iterator[RedisJournal]:
    """A journal whose connection leads through a proxy, and whose scripts are there already."""
    journal = open_redis(server.url(port=proxied.port), max_bytes=ROOM, patience_s=30.0, silence_s=2.0)
    yield journal
    journal.close()


_LEASING = ANNA.incarnation.encode()  # a lease asks for the holders first, and then names its own


def losing_its_answer(proxy: Proxy, ask: Callable[[], Any], said: bytes = b"EVALSHA") -> Any:
    """What *ask* comes to when the first answer to what is *said* is lost on its way."""
    cuts = proxy.counters.cuts
    proxy.cut_when(lambda data: said in data, before=False)
    result = ask()
    assert proxy.counters.cuts == cuts + 1
    return result


def test_an_accept_whose_answer_was_lost_is_stored_once(far: RedisJournal, proxied: Proxy) -> None:
    (number,) = losing_its_answer(proxied, lambda: accepted(far, "a"))

    assert numbers(far.listed(None, 9).result()) == [number] == [1]


def test_a_lease_whose_answer_was_lost_is_given_again(far: RedisJournal, proxied: Proxy) -> None:
    given = accepted(far, "a", "b", "c", "d")

    assert losing_its_answer(proxied, lambda: leased(far, 2), _LEASING) == given[:2]
    assert leased(far, 9) == given[2:]


def test_a_result_whose_acknowledgement_was_lost_was_written(far: RedisJournal, proxied: Proxy) -> None:
    (number,) = accepted(far, "a")
    leased(far)

    assert losing_its_answer(proxied, lambda: finished(far, number))
    assert known(far, number).state is State.DONE


def test_a_retry_and_a_drop_whose_answers_were_lost_were_done(far: RedisJournal, proxied: Proxy) -> None:
    (number,) = accepted(far, "a")
    ended(far, number, DEAD)

    assert losing_its_answer(proxied, lambda: far.retry(number).result())
    assert known(far, number).state is State.PENDING
    assert losing_its_answer(proxied, lambda: far.drop(number).result())
    assert far.entry(number).result() is None


# ---- a worker is gone ---------------------------------------------------------------------------

WORKER = """
import sys
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal_redis import open_redis
journal = open_redis(sys.argv[1], max_bytes=1 << 20)
held = journal.lease(5, holder_of_this_process(), 1e9, 100.0).result()
print(*(entry.number for entry in held), flush=True)
input()
"""


def test_the_leases_of_a_worker_that_was_killed_are_taken_over_at_once(
    server: Redis, journal: RedisJournal, asking: redis.Redis
) -> None:
    """JRN-3: kill -9 of the process: its leases would have lasted for decades."""
    given = accepted(journal, *"abcdefg")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, server.url()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    held = [int(word) for word in worker.stdout.readline().split()]
    us = holder_of_this_process()

    assert held == given[:5]
    assert leased(journal, holder=us, until=1e9) == given[5:]
    worker.kill()
    worker.communicate()
    assert leased(journal, holder=us, until=1e9) == held
    (consumer,) = asking.xinfo_consumers("holdfast:{journal}:accepted", "workers")
    assert consumer["pending"] == 7


def test_a_lease_that_nobody_waits_for_any_more_is_given_back(far: RedisJournal, proxied: Proxy) -> None:
    """It would keep its entry from running for as long as it lasts."""
    (number,) = accepted(far, "a")
    asked: list[Future[Any]] = []

    def give_up(data: bytes) -> bool:
        """The caller leaves, and the answer is lost, while Redis leases."""
        return _LEASING in data and asked[0].cancel()

    proxied.cut_when(give_up, before=False)
    asked.append(far.lease(1, ANNA, 1e9, 100.0))

    with pytest.raises(CancelledError):
        asked[0].result()
    while not (given := leased(far, holder=BERT)):
        continue  # what was leased for nobody is on its way back
    assert given == [number]


# ---- Redis is full ------------------------------------------------------------------------------


def test_a_full_redis_refuses_what_is_new_and_works_off_what_it_has() -> None:
    """JRN-4: nothing acknowledged is touched, and room comes back."""
    with Redis(RedisOptions(durable=True, max_bytes=4_000_000)) as server:
        journal = open_redis(server.url(), max_bytes=1 << 30)
        news = (a_new(str(number), body=b"x" * 20_000) for number in range(1000))
        given: list[int] = []
        with pytest.raises(JournalFullError, match=r"has no room.*give Redis more memory"):
            given.extend(journal.accept(new).result() for new in news)

        assert numbers(journal.listed(None, 1000).result()) == given
        assert leased(journal, 1000) == given
        assert journal.renew(given, ANNA, 150.0).result() == given
        assert all(finished(journal, number) for number in given)
        assert journal.prune(1e9).result() == len(given)
        assert journal.accept(a_new("again")).result() == given[-1] + 1
        journal.close()


# ---- what it stands on ----------------------------------------------------------------------------


def test_a_journal_that_another_version_takes_over_is_left_alone(
    journal: RedisJournal, asking: redis.Redis
) -> None:
    accepted(journal, "a")
    asking.hset("holdfast:{journal}:meta", "layout", "2")

    with pytest.raises(JournalUnusableError, match="layout 2"):
        accepted(journal, "b")


def test_a_request_that_is_gone_from_redis_does_not_stop_those_behind_it(
    journal: RedisJournal, asking: redis.Redis
) -> None:
    first, second = accepted(journal, "a", "b", order="anna")
    asking.xtrim("holdfast:{journal}:accepted", maxlen=1, approximate=False)

    assert leased(journal) == [second]
    assert journal.backlog().result().by_state["dead"] == 1
    with pytest.raises(JournalError, match=f"entry {first} cannot be read: its request is gone"):
        known(journal, first)
    assert journal.drop(first).result()


def test_all_its_keys_stand_in_one_slot_of_a_cluster(server: Redis, asking: redis.Redis) -> None:
    name = secrets.token_hex(4)
    journal = open_redis(server.url(), max_bytes=ROOM, journal=name)
    a, b, *_ = accepted(journal, "a", "b", "c")
    leased(journal, 2)
    assert finished(journal, a)
    assert finished(journal, b, DEAD)
    journal.close()

    assert all(key.startswith(f"holdfast:{{{name}}}:") for key in asking.keys())  # noqa: SIM118


def test_its_questions_look_at_no_more_however_many_wait(journal: RedisJournal, asking: redis.Redis) -> None:
    """JRN-4: `lease` and `backlog` stay flat."""

    def commands_of(ask: Callable[[], Any]) -> dict[str, int]:
        asking.config_resetstat()
        ask()
        stats: dict[str, Any] = asking.info("commandstats")
        return {name: one["calls"] for name, one in stats.items() if "config" not in name}

    def both() -> None:
        journal.backlog().result()
        leased(journal, 2)

    accepted(journal, *(f"few {n}" for n in range(8)))
    few = commands_of(both)
    for future in [journal.accept(a_new(f"many {n}")) for n in range(1500)]:
        future.result()

    assert commands_of(both) == few
