"""Whatever is killed, cut or full: each 202 happens once; a start that cannot be right says why (JRN-3…5)."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from journal_stage import (
    HOLDFAST,
    House,
    Sent,
    ask,
    house,
    kill,
    operation,
    outcome,
    postpone,
    postponed,
    pressed,
    until,
)
from running import ASYNCPG, SYNC, Running

from holdfast.drill.ports import quiet_port
from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.servers import real_server
from holdfast.work.journal_sqlite import open_sqlite

SLOW = "/take/{reference}?pause=0.05"  # so that a drain lasts until it is hurt
CANNOT_CREATE = 73
AT_ONCE = {"HOLDFAST_JOURNAL_AFTER_MS": "20"}  # how long they wait is no matter here


@pytest.fixture
def stage(shared_postgresql: PostgreSQL) -> Iterator[House]:
    with house(shared_postgresql, {"HOLDFAST_START_WITHOUT_DATABASE": "true", **AT_ONCE}) as made:
        yield made


def all_happened_once(stage: House, sent: list[Sent], table: str = "taken") -> None:
    """Those answered 202, as soon as all are there; and none of all that were sent is there twice."""
    wanted = {one.reference for one in postponed(sent)}
    assert wanted

    def there() -> bool:
        return wanted <= set(stage.times(table))

    until(there, lambda: f"{len(wanted - set(stage.times(table)))} of {len(wanted)} are missing")
    times = stage.times(table)
    assert not [one.reference for one in sent if times[one.reference] > 1]


def metrics(one: Running) -> str:
    return ask(one, "GET", "/metrics").body.decode()


def health(one: Running) -> dict[str, Any]:
    """What readiness says of the journal."""
    found: dict[str, Any] = ask(one, "GET", "/api/health").body["checks"]["journal"]
    return found


def begun(stage: House, sent: list[Sent], share: float, table: str = "taken") -> None:
    """Return once so much of what was postponed is there."""
    wanted = {one.reference for one in postponed(sent)}
    until(lambda: len(wanted & set(stage.times(table))) >= share * len(wanted))


# ---- processes that end ----------------------------------------------------------------------------


async def test_killed_in_the_outage_and_in_the_drain(stage: House) -> None:
    """JRN-3: kill -9 as it accepts, kill -9 as it drains, SIGTERM as it drains: every 202 once."""
    first = stage.start()
    with stage.away():
        sent = await pressed(first, 60, path=SLOW)
        kill(first)
        second = stage.start()
        assert operation(second, postponed(sent)[0])["status"] == "pending"
    begun(stage, sent, 0.2)
    kill(second)
    third = stage.start()
    begun(stage, sent, 0.5)
    status, took = third.stop()
    left = {one.reference for one in postponed(sent)} - set(stage.times())
    fourth = stage.start()
    all_happened_once(stage, sent)

    assert left, "the drain was over before it was stopped"
    assert (status, took < 2.0) == (0, True), f"{status} after {took:.2f} s\n{third.output[-3000:]}"
    assert outcome(fourth, postponed(sent)[-1])["status"] == "done"


async def test_those_that_wait_at_a_stop_are_written_down(stage: House) -> None:
    """JRN-1, SHD-1: nobody is told 503 because we stop in an outage; the next process runs them."""
    one = stage.start(environment={"HOLDFAST_JOURNAL_AFTER_MS": "9000"})
    assert ask(one, "POST", "/take/waits", b"").status == 201
    with stage.away(), ThreadPoolExecutor() as several:
        asking = [several.submit(ask, one, "POST", "/take/waits", b"") for _ in range(3)]
        until(lambda: 'holdfast_requests_waiting{database="postgres"} 3.0' in metrics(one))
        status, took = one.stop()
        sent = [answer.result() for answer in asking]
    again = stage.start()

    assert [answer.status for answer in sent] == [202] * 3
    assert (status, took < 2.0) == (0, True), f"{status} after {took:.2f} s"
    assert [outcome(again, answer)["status"] for answer in sent] == ["done"] * 3
    assert stage.times()["waits"] == 4


def test_a_thread_that_waits_for_its_database_does_not_keep_the_process(stage: House) -> None:
    """SHD-1: what the journal runs at a stop is cut like requests, and given back."""
    waits = {
        "HOLDFAST_JOURNAL": "GET /slow",
        "HOLDFAST_MAX_WAIT_MS": "300",
        "HOLDFAST_SHUTDOWN_TIMEOUT_MS": "2000",
    }
    one = stage.start(SYNC, waits)
    assert ask(one, "GET", "/slow?seconds=0").status == 200
    sent = postpone(stage, one, "GET", "/slow?seconds=60")
    until(lambda: operation(one, sent)["status"] == "running")
    status, took = one.stop(30.0)

    assert (status, took < 2.0) == (0, True), f"{status} after {took:.2f} s\n{one.output[-3000:]}"
    assert "/slow" in stage.journal("list", "--state", "pending")


async def test_two_processes_share_a_journal(stage: House) -> None:
    """JRN-5: what either accepted happens once, whoever runs it, and nothing runs in both at once."""
    each = {"HOLDFAST_JOURNAL_ORDER_BY": "Idempotency-Key"}
    with ThreadPoolExecutor() as both:
        one, other = both.map(lambda _: stage.start(environment=each), range(2))
    with stage.away():
        sent = [*await pressed(one, 30, path=SLOW), *await pressed(other, 30, path=SLOW)]
    all_happened_once(stage, sent)
    for process in (one, other):
        assert outcome(process, postponed(sent)[0])["status"] == "done"

    running: set[str] = set()
    ran_by: set[str] = set()
    for what, reference, pid in map(str.split, stage.runs.read_text().splitlines()):
        assert (reference in running) == (what == "ends"), f"{reference} was run twice at once"
        running ^= {reference}
        ran_by.add(pid)
    assert ran_by == {str(one.process.pid), str(other.process.pid)}


# ---- Redis -----------------------------------------------------------------------------------------


async def test_a_journal_in_redis_that_is_killed_meanwhile(shared_postgresql: PostgreSQL) -> None:
    """JRN-5: HOLDFAST_JOURNAL_URL, appendfsync always; Redis is killed in the outage and in the drain."""
    with real_server("redis", durable=True) as redis, house(shared_postgresql) as stage:
        one = stage.start(environment={"HOLDFAST_JOURNAL_URL": redis.url()})
        with stage.away():
            sent = await pressed(one, 25, path=SLOW)
            redis.restart("kill")
            sent += await pressed(one, 5, path=SLOW)
        begun(stage, sent, 0.3)
        redis.restart("kill")
        all_happened_once(stage, sent)

        assert outcome(one, postponed(sent)[-1])["status"] == "done"
        assert not list(stage.state.glob("journal*"))
        listed = stage.journal("list", environment={"HOLDFAST_JOURNAL_URL": redis.url()})
        assert f"{len(postponed(sent))} done" in listed
        assert one.stop()[0] == 0


def test_a_redis_that_cannot_be_used_refuses_the_start(stage: House) -> None:
    """JRN-5: a wrong password is refused and said, without it; one that is away is told and awaited."""
    with real_server("redis", password="right", durable=True) as redis:
        wrong = redis.url(password="hunter2-is-wrong")
        status, told = stage.refused({"HOLDFAST_JOURNAL_URL": wrong})
    away = f"redis://:hunter2-is-wrong@127.0.0.1:{quiet_port()}/0"
    one = stage.start(environment={"HOLDFAST_JOURNAL_URL": away})

    assert (status, "holdfast could not start" in told) == (CANNOT_CREATE, True), told
    assert "password" in told.lower()
    assert ask(one, "POST", "/take/without-a-journal").status == 201
    output = one.whole_output()
    assert "journal_failing" in output
    assert "hunter2" not in told + output


def test_one_that_ends_its_process_stops_and_an_admin_decides(stage: House) -> None:
    """JRN-3: those beside it are not charged with its deeds; it is dead, not the shop for ever."""
    one = stage.start()
    with stage.away():
        beside = [ask(one, "POST", f"/take/beside-{n}?pause=0.3", b"", client(n)) for n in range(3)]
        fatal = ask(one, "POST", "/fatal/fatal", b"", client("fatal"))
        behind = ask(one, "POST", "/take/behind-the-fatal", b"", client("fatal"))
    ends = 0
    while ends < 10 and not ended_well(one, behind):
        ends += 1
        one = stage.start()

    assert ends == 4, one.output  # once beside others, and three times alone
    assert [outcome(one, sent)["status"] for sent in (*beside, fatal, behind)] == [
        *["done"] * 3,
        "dead",
        "done",
    ]
    runs = stage.runs.read_text()
    assert runs.count("begins fatal") == 4
    for n in range(3):
        assert (runs.count(f"ends beside-{n}"), stage.times()[f"beside-{n}"]) == (1, 1), runs

    (number,) = (line.split()[0] for line in stage.journal("list", "--state", "dead").splitlines()[1:2])
    shown = stage.journal("show", number)
    assert "its process ended while it ran, 4 times in a row" in shown
    stage.server.execute("INSERT INTO cured VALUES ('fatal')")
    stage.journal("retry", number)
    assert until(lambda: operation(one, fatal)["status"] == "done")
    assert stage.times()["fatal"] == 1


def client(name: object) -> list[tuple[str, str]]:
    """Whose requests keep their order."""
    return [("Authorization", f"Bearer {name}")]


def ended_well(one: Running, sent: Sent) -> bool:
    """Whether *sent* is done; False when the process ends before that."""

    def over() -> str | None:
        if one.process.poll() is not None:
            return "the process ended"
        try:
            found = operation(one, sent)["status"]
        except OSError:
            return None
        return found if found == "done" else None

    return bool(until(over) == "done")


# ---- no room ---------------------------------------------------------------------------------------


def test_a_full_journal_says_so_and_keeps_what_it_has(stage: House) -> None:
    """JRN-4: 503 `journal_full` past HOLDFAST_JOURNAL_MAX_BYTES; room again once some of it is dropped."""
    one = stage.start(environment={"HOLDFAST_JOURNAL_MAX_BYTES": "100000"})
    body = bytes(20_000)
    with stage.away():
        answers = [ask(one, "POST", f"/take/full-{number}", body) for number in range(6)]
        kept = [answer for answer in answers if answer.status == 202]
        until(lambda: health(one)["entries"] == len(kept), lambda: health(one))
    refused = answers[len(kept) :]
    for answer in kept:
        assert outcome(one, answer)["status"] == "done"

    assert 2 <= len(kept) <= 4
    assert {(answer.status, answer.body["code"]) for answer in refused} == {(503, "journal_full")}
    assert all(stage.times()[f"full-{number}"] == (number < len(kept)) for number in range(6))
    stage.journal("drop", "--yes", "1", "2")
    assert postpone(stage, one, "POST", "/take/full-again", body).status == 202
    assert one.whole_output().count('"journal_refused"') == len(refused)


def test_a_full_disk_loses_nothing_that_was_acknowledged(stage: House) -> None:
    """JRN-4: 503 and one clear event while the disk has no room; 202 again when it has."""
    one = stage.start()
    body = bytes(50_000)
    with stage.away():
        before = [ask(one, "POST", f"/take/disk-{number}", body) for number in range(3)]
        largest = max(file.stat().st_size for file in stage.state.iterdir())
        resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        full = [ask(one, "POST", f"/take/disk-full-{number}", body) for number in range(3)]
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, unlimited)
        after = ask(one, "POST", "/take/disk-again", body)
    for answer in (*before, after):
        assert outcome(one, answer)["status"] == "done"

    assert {(answer.status, answer.body["code"]) for answer in full} == {(503, "journal_full")}
    assert "has no room" in one.whole_output()
    assert not [name for name in stage.times() if name.startswith("disk-full")]


# ---- what is found at the start --------------------------------------------------------------------


def test_a_sealed_journal_shows_nothing_and_opens_to_its_key_alone(stage: House) -> None:
    """JRN-1: with HOLDFAST_JOURNAL_KEY no plain text is in the files; another key is refused, and said."""
    key = {"HOLDFAST_JOURNAL_KEY": "a key of more than enough letters"}
    secret = b"the-card-is-4111-1111-1111-1111"
    one = stage.start(environment=key)
    with stage.away():
        sent = ask(one, "POST", "/take/sealed", secret, [("Authorization", "Bearer hunter2")])
        kill(one)
        assert {file.stat().st_mode & 0o777 for file in stage.state.iterdir()} == {0o600}
        assert stage.state.stat().st_mode & 0o777 == 0o700
        files = {file.name: file.read_bytes() for file in stage.state.iterdir() if file.is_file()}
        with ThreadPoolExecutor() as several:
            asked = ({"HOLDFAST_JOURNAL_KEY": "another key, as long as the other"}, {})
            (other, told), (none, hint) = several.map(stage.refused, asked)
    again = stage.start(environment=key)

    assert outcome(again, sent)["response"]["body"]["size"] == len(secret)
    for name, content in files.items():
        for word in (secret, b"hunter2", b"/take/sealed"):
            assert word not in content, f"{word!r} is in {name}"
    assert (other, none) == (CANNOT_CREATE, CANNOT_CREATE)
    assert "sealed with another key" in told
    assert "set HOLDFAST_JOURNAL_KEY" in hint


def test_a_truncated_journal_is_salvaged_and_told(stage: House) -> None:
    """JRN-3: what can be read is carried over and run; what was lost is counted, the old file kept."""
    one = stage.start()
    with stage.away():
        sent = [ask(one, "POST", f"/take/cut-{number}", bytes(3000)) for number in range(30)]
        status, _ = one.stop()
        file = stage.state / "journal.sqlite3"
        size = file.stat().st_size
        with file.open("r+b") as opened:
            opened.truncate(size * 2 // 3 // 4096 * 4096)
        again = stage.start()
    assert [answer.status for answer in sent] == [202] * 30
    assert status == 0
    until(lambda: '"journal_drained"' in again.output)
    told = [line for line in again.output.splitlines() if '"journal_damaged"' in line]
    assert len(told) == 1, again.output
    ran = [stage.times()[f"cut-{number}"] for number in range(30)]
    found = sum(ran)

    assert f'"carried_over":{found}' in told[0]
    assert found >= 10
    assert max(ran) == 1
    assert len(list(stage.state.glob("journal.sqlite3*"))) > 1


def test_a_journal_of_a_newer_version_refuses_the_start(stage: House) -> None:
    open_sqlite(stage.state, max_bytes=1_000_000).close()
    file = stage.state / "journal.sqlite3"
    with sqlite3.connect(file) as newer:
        newer.execute("PRAGMA user_version = 999")
    newer.close()
    before = file.read_bytes()
    status, told = stage.refused()

    assert (status, "holdfast could not start" in told) == (CANNOT_CREATE, True), told
    assert "version 999" in told
    assert file.read_bytes() == before


NOT_ROOTS = pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may read and write anywhere"
)
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@NOT_ROOTS
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_cannot_be_used_refuses_the_start(stage: House, mode: int) -> None:
    """JRN-1: exit status 73, the folder, and what to do."""
    stage.state.mkdir(mode=mode)
    status, told = stage.refused(before=BOUND)

    assert status == CANNOT_CREATE, told
    assert str(stage.state) in told
    assert "HOLDFAST_STATE_DIR" in told


@NOT_ROOTS
@pytest.mark.parametrize("hidden", ["folder", "file"])
def test_anothers_journal_stops_nobody_who_journals_nothing(stage: House, hidden: str) -> None:
    """JRN-1: it is left as it is, and told."""
    open_sqlite(stage.state, max_bytes=1_000_000).close()
    (stage.state if hidden == "folder" else stage.state / "journal.sqlite3").chmod(0)
    one = stage.start(ASYNCPG, before=BOUND)
    status, _ = one.stop()
    looked = subprocess.run(
        [*BOUND, HOLDFAST, "journal", "list"],
        env=stage.environment,
        cwd=stage.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (status, one.output.count("journal_inaccessible")) == (0, 1), one.output
    assert looked.returncode == CANNOT_CREATE
    for told in (one.output, looked.stderr):
        assert f"readable and writable for this user (uid {os.getuid()})" in told
        assert str(stage.state) in told
    assert "Traceback" not in looked.stderr
