"""A real server can be started, hurt in every way we need, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.process import ServerError
from holdfast.drill.servers import real_server


def test_a_started_server_runs_statements(postgresql: PostgreSQL) -> None:
    assert postgresql.execute("SELECT 1, 'a,b' UNION ALL SELECT 2, NULL ORDER BY 1") == [
        ("1", "a,b"),
        ("2", ""),
    ]


def test_a_refused_statement_tells_the_server_s_message(postgresql: PostgreSQL) -> None:
    with pytest.raises(ServerError, match='relation "nowhere" does not exist'):
        postgresql.execute("SELECT * FROM nowhere")


@pytest.mark.parametrize("mode", ["immediate", "fast", "smart"])
def test_what_was_committed_is_there_after_a_restart(postgresql: PostgreSQL, mode: str) -> None:
    postgresql.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    port = postgresql.port

    postgresql.restart(mode)  # type: ignore[arg-type]

    assert postgresql.port == port
    assert postgresql.execute("SELECT id FROM kept") == [("7",)]


def test_what_was_committed_is_there_after_sigkill(postgresql: PostgreSQL) -> None:
    postgresql.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")

    postgresql.kill()

    assert not postgresql.running
    postgresql.start()
    assert postgresql.execute("SELECT id FROM kept") == [("7",)]


def test_a_stopped_server_accepts_no_connections(postgresql: PostgreSQL) -> None:
    assert postgresql.accepts_connections()

    postgresql.stop("immediate")

    assert not postgresql.accepts_connections()


def test_a_paused_server_keeps_silent_and_goes_on_where_it_was(postgresql: PostgreSQL) -> None:
    postgresql.pause()
    assert not postgresql.accepts_connections()

    postgresql.resume()

    assert postgresql.accepts_connections()


def test_a_paused_server_can_be_stopped(postgresql: PostgreSQL) -> None:
    postgresql.pause()

    postgresql.stop("immediate")

    assert not postgresql.running


async def test_with_a_password_nobody_enters_without() -> None:
    with real_server("postgresql", password="it's secret") as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url(None, password="wrong"))
        connection = await asyncpg.connect(server.url(None))

        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_no_more_connections_than_asked_for() -> None:
    with real_server("postgresql", max_connections=5) as server:
        assert server.execute("SHOW max_connections") == [("5",)]


def test_two_servers_stand_side_by_side() -> None:
    with real_server("postgresql") as one, real_server("postgresql") as other:
        assert one.port != other.port
        assert one.execute("SELECT 1") == other.execute("SELECT 1")


def test_nothing_is_left_behind(postgresql: PostgreSQL) -> None:
    assert postgresql.pid is not None
    family = [psutil.Process(postgresql.pid), *psutil.Process(postgresql.pid).children(recursive=True)]
    folder = postgresql.folder

    postgresql.close()

    _, alive = psutil.wait_procs(family, timeout=5)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert folder is not None
    assert not folder.exists()


PROGRAM = """
import os, signal
from holdfast.drill.servers import real_server
server = real_server('postgresql').__enter__()
print(server.pid, server.folder, flush=True)
"""


ENDS = ["raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "server.pause(); 1/0"]


@pytest.mark.parametrize("end", ENDS)
def test_a_program_that_does_not_clean_up_leaves_nothing_either(end: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM + end], capture_output=True, text=True, check=False)

    pid, folder = done.stdout.split()
    assert done.returncode != 0
    give_up_at = time.monotonic() + 10
    while (alive(int(pid)) or Path(folder).exists()) and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert not alive(int(pid))
    assert not Path(folder).exists()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_server_does_not_belong_to_the_terminal_s_process_group(postgresql: PostgreSQL) -> None:
    """Ctrl-C in a terminal goes to the foreground group; the server must not hear it before us."""
    assert postgresql.pid is not None
    assert os.getpgid(postgresql.pid) != os.getpgid(0)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown server 'postgres', did you mean 'postgresql'\? Known: postgresql"
    ):
        real_server("postgres")
