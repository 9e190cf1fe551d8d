"""The journal's real file: killed writers, cut files, bad pages, full disks (JRN-1, JRN-3 to JRN-5).

Property 16: what was acknowledged is never lost.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from journal_child import NOW, request

from holdfast.events import Bus, Event
from holdfast.work.entry import Answer, Entry, Holder, Outcome, State
from holdfast.work.events import JournalDamaged
from holdfast.work.holder import holder_of_this_process
from holdfast.work.journal import JournalUnusableError
from holdfast.work.journal_sqlite import FILE, SqliteJournal, open_sqlite
from holdfast.work.journal_sqlite_places import Places
from holdfast.work.journal_sqlite_salvage import carry_over

CHILD = Path(__file__).with_name("journal_child.py")
ROOM = 2**30


def start(doing: str, folder: Path, *more: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), doing, str(folder), *map(str, more)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def child(doing: str, folder: Path, *more: object) -> Iterator[subprocess.Popen[str]]:
    with start(doing, folder, *more) as process:
        try:
            yield process
        finally:
            process.kill()


def opened(folder: Path) -> tuple[SqliteJournal, list[Event]]:
    told: list[Event] = []
    bus = Bus()
    bus.subscribe(told.append)
    return open_sqlite(folder, max_bytes=ROOM, bus=bus), told


def everything(journal: SqliteJournal) -> list[Entry]:
    return journal.listed(None, 1_000_000).result()


def filled(folder: Path, entries: int, size: int = 2000) -> Path:
    """A closed journal with *entries*: numbers 1, 2 … of names n1, n2 …, one order each five."""
    journal = open_sqlite(folder, max_bytes=ROOM)
    futures = [journal.accept(request(f"n{i}", f"o{(i - 1) // 5}", size)) for i in range(1, entries + 1)]
    assert [future.result() for future in futures] == list(range(1, entries + 1))
    journal.close()
    return folder / FILE


def as_it_was_sent(entry: Entry, size: int = 2000) -> bool:
    return entry.new == request(f"n{entry.number}", f"o{(entry.number - 1) // 5}", size)


@pytest.mark.parametrize("after", [1, 50, 400])
def test_every_acknowledged_request_survives_kill_9(tmp_path: Path, after: int) -> None:
    """JRN-1, JRN-3, property 16: the future is done only once the disk has it."""
    with child("accept", tmp_path) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        lines += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    journal, told = opened(tmp_path)

    stored = {str(entry.number): entry.new for entry in everything(journal)}
    acknowledged = dict(line.split() for line in lines)

    assert len(acknowledged) >= after
    assert all(stored[number].name == name for number, name in acknowledged.items())
    assert all(new == request(new.name, new.order) for new in stored.values())
    assert told == []
    assert journal.backlog().result().entries == len(stored)
    journal.close()


def test_what_a_killed_worker_held_is_free_at_once(tmp_path: Path) -> None:
    """JRN-3: no lease has to run out on the machine where its holder died."""
    filled(tmp_path, 5)
    with child("hold", tmp_path) as process:
        assert process.stdout is not None
        held = [process.stdout.readline().strip() for _ in range(2)]
        journal, _ = opened(tmp_path)
        ours = holder_of_this_process()

        assert held == ["1", "holding"]
        assert journal.lease(10, ours, NOW + 1000, NOW).result() == []
        process.send_signal(signal.SIGKILL)
        psutil.wait_procs(
            [psutil.Process(process.pid)], 0.2
        )  # not reaped: it is a zombie, and gone all the same
        assert [entry.number for entry in journal.lease(10, ours, NOW + 1000, NOW).result()] == [1]
        journal.close()


def test_two_processes_share_it(tmp_path: Path) -> None:
    """JRN-5, JRN-2, property 17: each entry runs once, those of one order one after the other."""
    with child("share", tmp_path) as one, child("share", tmp_path) as two:
        told = [
            line.split() for process in (one, two) for line in process.communicate(timeout=60)[0].splitlines()
        ]
    began = {
        int(number): (order, float(at))
        for kind, number, *rest in told
        if kind == "began"
        for order, at in [rest]
    }
    ended = {
        int(number): float(rest[1]) for kind, number, *rest in told if kind == "ended" and rest[0] == "True"
    }
    accepted = sorted(int(number) for kind, number, *_ in told if kind == "accepted")

    assert accepted == list(range(1, 201))
    assert sorted(ended) == accepted
    assert sum(kind == "began" for kind, *_ in told) == 200
    for order in ("order0", "order1", "order2"):
        numbers = sorted(number for number in began if began[number][0] == order)
        assert all(ended[a] < began[b][1] for a, b in itertools.pairwise(numbers))


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    """JRN-1: folder 0700, files 0600, whatever the umask is."""
    before = os.umask(0)
    try:
        journal, _ = opened(tmp_path / "new" / "state")
        journal.accept(request("a")).result()
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in (tmp_path / "new" / "state").iterdir()}
        folder = stat.S_IMODE((tmp_path / "new" / "state").stat().st_mode)
        journal.close()
    finally:
        os.umask(before)

    assert folder == 0o700
    assert modes.keys() >= {FILE, f"{FILE}-wal", f"{FILE}-shm"}
    assert set(modes.values()) == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    filled(tmp_path, 1).chmod(0o666)

    journal, _ = opened(tmp_path)

    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    journal.close()


# ---- files that are not what was written ------------------------------------------------------------


@pytest.mark.parametrize("share", [0.15, 0.3, 0.6, 0.97])
def test_a_file_cut_in_the_middle_of_a_record_gives_all_that_is_left_of_it(
    tmp_path: Path, share: float
) -> None:
    """JRN-3, 0008: what can be read is carried over, the old file is kept, and it is told."""
    path = filled(tmp_path, 300)
    whole = path.stat().st_size
    os.truncate(path, int(whole * share) // 4096 * 4096 + 1234)
    cut = path.read_bytes()

    journal, told = opened(tmp_path)

    found = everything(journal)
    (damaged,) = told
    assert isinstance(damaged, JournalDamaged)
    assert damaged.carried_over == len(found) >= 300 * share * 0.8 - 12
    assert all(map(as_it_was_sent, found))
    assert Path(damaged.kept_at).read_bytes() == cut
    assert Path(damaged.kept_at).name.startswith(f"{FILE}.damaged-")
    assert stat.S_IMODE(Path(damaged.kept_at).stat().st_mode) == 0o600
    assert journal.backlog().result().entries == len(found)
    assert journal.accept(request("later")).result() > max((entry.number for entry in found), default=0)
    journal.close()
    again, nothing = opened(tmp_path)
    assert nothing == []
    again.close()


@pytest.mark.parametrize("garbage", [b"\x00" * 4096, bytes(range(256)) * 16], ids=["zeros", "noise"])
def test_a_bad_page_costs_no_more_than_what_was_on_it(tmp_path: Path, garbage: bytes) -> None:
    """JRN-3: wherever it is, the first page with the schema and the roots of the tables included."""
    path = filled(tmp_path / "good", 120, 1500)
    pages = path.stat().st_size // 4096
    for page in [*range(26), *range(26, pages, 7)]:
        folder = tmp_path / f"page{page}"
        shutil.copytree(tmp_path / "good", folder)
        with (folder / FILE).open("r+b") as file:
            file.seek(page * 4096)
            file.write(garbage)

        journal, told = opened(folder)

        found = everything(journal)
        assert all(as_it_was_sent(entry, 1500) for entry in found if entry.state is State.PENDING)
        assert len(found) >= 120 - 2, f"page {page}: {len(found)}, {told}"
        assert all(isinstance(one, JournalDamaged) for one in told)
        journal.close()
        shutil.rmtree(folder)


def test_what_was_done_stays_done_and_its_answer_too(tmp_path: Path) -> None:
    """Property 17: nothing that is known to be done is run again because a page of another is bad."""
    path = filled(tmp_path, 300)
    journal, _ = opened(tmp_path)
    here = Holder("here", "here", os.getpid(), 1.0)
    leased = journal.lease(60, here, NOW + 10, NOW).result()
    for entry in leased[:30]:
        outcome = Outcome(State.DONE, Answer(201, body=f"made {entry.number}".encode()))
        journal.finish(entry.number, here, outcome, NOW).result()
    journal.finish(
        leased[31].number, here, Outcome(State.PENDING, None, 2, "answered 500", 5.0), NOW
    ).result()
    journal.close()
    os.truncate(path, path.stat().st_size - 5000)

    journal, (told,) = opened(tmp_path)

    found = {entry.number: entry for entry in everything(journal)}
    assert isinstance(told, JournalDamaged)
    for entry in leased[:30]:
        kept = found[entry.number]
        assert (kept.state, kept.answer) == (State.DONE, Answer(201, body=f"made {entry.number}".encode()))
    paused = found[leased[31].number]
    assert (paused.state, paused.attempts, paused.not_before) == (State.PENDING, 2, NOW + 5)
    assert {entry.state for entry in found.values()} == {State.DONE, State.PENDING}
    leasable = [entry.number for entry in journal.lease(100, here, NOW + 10, NOW).result()]
    assert leasable == sorted(leasable)
    assert leased[31].number not in leasable
    journal.close()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_log_that_was_cut_gives_what_was_committed_before_the_cut(tmp_path: Path, share: float) -> None:
    with child("accept", tmp_path / "state") as process:
        assert process.stdout is not None
        for _ in range(100):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    log = tmp_path / "state" / f"{FILE}-wal"
    os.truncate(log, int(log.stat().st_size * share))

    journal, _ = opened(tmp_path / "state")

    found = everything(journal)
    assert [entry.number for entry in found] == list(range(1, len(found) + 1))
    assert all(entry.new == request(entry.new.name, entry.new.order) for entry in found)
    journal.close()


def test_a_repair_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    path = filled(tmp_path, 50)
    os.truncate(path, path.stat().st_size - 5000)
    carried = carry_over(Places(path, NOW)).carried_over

    journal, _ = opened(tmp_path)

    assert len(everything(journal)) == carried > 30
    assert any(".damaged-" in one.name for one in tmp_path.iterdir())
    journal.close()


def test_a_damaged_file_that_others_use_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they acknowledge meanwhile would be lost with it."""
    monkeypatch.setattr("holdfast.work.journal_sqlite_opening.ALONE_S", 0.1)
    path = filled(tmp_path, 50)
    with child("hold", tmp_path) as process:
        assert process.stdout is not None
        for _ in range(11):
            process.stdout.readline()
        os.truncate(path, path.stat().st_size - 5000)

        with pytest.raises(JournalUnusableError, match="other processes use it"):
            opened(tmp_path)


# ---- files that are not ours to touch ---------------------------------------------------------------


def test_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = filled(tmp_path, 3)
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 7")
    other.close()
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}

    with pytest.raises(JournalUnusableError, match="version 7, and this release knows version 1"):
        opened(tmp_path)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", ["text", "database", "folder"])
def test_what_is_not_a_journal_is_refused_and_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FILE
    if kind == "text":
        path.write_text("my notes\n" * 100)
    elif kind == "database":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (a)")
        other.close()
    else:
        path.mkdir()

    with pytest.raises(JournalUnusableError, match="HOLDFAST_STATE_DIR"):
        opened(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("what", ["folder", "file", "parent"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, what: str) -> None:
    """0008: the start is refused; SQLite itself would open it for reading, and fail at the first request."""
    state = tmp_path / "state"
    path = filled(state, 1)
    for place in (state, path, *tmp_path.parents[:2], tmp_path):
        place.chmod(0o755 if place.is_dir() else 0o644)
    if what == "folder":
        state.chmod(0o555)
        path.chmod(0o666)
    elif what == "file":
        state.chmod(0o777)
        path.chmod(0o444)
    with child("open as nobody", state / "inner" if what == "parent" else state) as process:
        told = process.communicate(timeout=30)[0]
    state.chmod(0o700)

    assert told.startswith("JournalInaccessibleError ")
    assert "HOLDFAST_STATE_DIR" in told


# ---- full disks -------------------------------------------------------------------------------------


def test_a_limit_of_the_files_size_refuses_and_later_accepts_again(tmp_path: Path) -> None:
    """JRN-4, 0008: full disk, later: nothing acknowledged is touched."""
    with child("fill", tmp_path, 400_000) as process:
        _check_filling(tmp_path, process)


def test_a_full_disk_refuses_and_later_accepts_again(tmp_path: Path) -> None:
    """JRN-4, 0008, on a disk of one megabyte and a half."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"\x00" * 500_000)
        with child("fill", disk / "state") as process:
            _check_filling(disk / "state", process, ballast)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _check_filling(folder: Path, process: subprocess.Popen[str], ballast: Path | None = None) -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    lines = _until_full(process)
    if ballast is not None:
        ballast.unlink()
    process.stdin.write("there is room\n")
    process.stdin.flush()
    later = process.stdout.read().splitlines()
    journal, told = opened(folder)

    stored = {str(entry.number): entry.new for entry in everything(journal)}
    acknowledged = dict(line.split() for line in [*lines[:-1], *later])
    assert "has no room" in lines[-1]
    assert len(later) == 5
    assert {number: new.name for number, new in stored.items()} == acknowledged
    assert all(new == request(new.name) for new in stored.values())
    assert told == []
    journal.close()


def _until_full(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while not lines[-1].startswith("full"):
        assert lines[-1], "it ended before it was full"
        lines.append(process.stdout.readline())
    return lines
