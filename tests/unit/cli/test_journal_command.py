"""`holdfast journal`: journaled requests listed, shown, retried, dropped, exported (JRN-3)."""

from __future__ import annotations

import errno
import json
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from holdfast.cli.main import app
from holdfast.work.entry import Answer, Holder, New, Outcome, State, name_of
from holdfast.work.journal import Journal
from holdfast.work.journal_sqlite import open_sqlite

HOLDER = Holder("us", "elsewhere", 1, 0.0)
NEVER = 4_000_000_000.0
BODY = b'{"item": 1, "password": "hunter2", "card": "4111111111111111"}'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def journal(state: Path) -> Iterator[Journal]:
    """The server's own, open all the time: 1 done, 2 dead, 3 running, 4 and 5 pending."""
    opened = open_sqlite(state, max_bytes=1 << 20)
    for number in range(1, 6):
        opened.accept(an_order(number)).result()
    opened.lease(3, HOLDER, NEVER, time.time()).result()
    answer = Answer(201, ((b"content-type", b"application/json"),), b'{"id": 7, "token": "abc"}')
    opened.finish(1, HOLDER, Outcome(State.DONE, answer), time.time()).result()
    dead = Outcome(State.DEAD, Answer(500), 3, "answered 500")
    opened.finish(2, HOLDER, dead, time.time()).result()
    yield opened
    opened.close()


def an_order(number: int) -> New:
    return New(
        name=name_of(f"op-{number}"),
        key=f"key-{number}",
        order=f"order-{number}",
        method="POST",
        target="/orders?token=abc",
        headers=(
            (b"Content-Type", b"application/json"),
            (b"Authorization", b"Bearer s3cr3t"),
            (b":scheme", b"https"),
        ),
        body=BODY,
        client="10.0.0.9",
        journaled_at=time.time() - 7200,
    )


def ask(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["journal", *arguments], input=answer)


def secrets_in(text: str) -> list[str]:
    return [one for one in ("hunter2", "4111", "s3cr3t", "token=abc", '"abc"') if one in text]


# ---- list ----------------------------------------------------------------------------------------


def test_a_table_of_what_is_there(journal: Journal) -> None:
    told = ask("list").output

    rows = [line.split() for line in told.splitlines() if line]
    assert rows[0] == ["number", "state", "method", "path", "age", "attempts", "cause"]
    assert rows[2] == ["2", "dead", "POST", "/orders", "2h", "3", "answered", "500"]
    assert [row[1] for row in rows[1:6]] == ["done", "dead", "running", "pending", "pending"]
    assert "2 pending, 1 running, 1 done, 1 dead" in told
    assert secrets_in(told) == []


def test_only_one_state_and_only_so_many(journal: Journal) -> None:
    told = ask("list", "--state", "pending", "--limit", "1").output

    assert "\n4 " in told
    assert "\n5 " not in told
    assert "the first 1; --limit shows more" in told


def test_an_empty_journal(state: Path) -> None:
    open_sqlite(state, max_bytes=1 << 20).close()

    assert ask("list").output == f"{state / 'journal.sqlite3'}: empty; 0 B of 256.0 MiB\n"


# ---- show ----------------------------------------------------------------------------------------


def test_one_in_full_without_its_secrets(journal: Journal) -> None:
    told = ask("show", "1").output

    for part in ("POST /orders?token=***", "key-1", '"item": 1', "answer       201", "2h ago", "10.0.0.9"):
        assert part in told
    assert ":scheme" not in told
    assert secrets_in(told) == []


def test_one_that_runs_says_where(journal: Journal) -> None:
    assert "run by       process 1 on elsewhere" in ask("show", "3").output


def test_one_whose_process_ended_says_how_often(journal: Journal) -> None:
    """JRN-3."""
    assert "interrupted" not in ask("show", "3").output
    journal.lease(9, Holder("them", "elsewhere", 2, 0.0), 2 * NEVER, NEVER).result()

    assert "interrupted  1 times in a row by the end of its process" in ask("show", "3").output


def test_a_number_that_is_not_there(journal: Journal) -> None:
    asked = ask("show", "99")

    assert asked.exit_code == 1
    assert "there is no number 99" in asked.stderr


NO_NUMBER = "9" * 23


@pytest.mark.parametrize("number", ["99", NO_NUMBER])
def test_show_of_a_number_that_is_not_there(journal: Journal, number: str) -> None:
    """JRN-3: however long it is."""
    asked = ask("show", number)

    assert asked.exit_code == 1
    assert f"there is no number {number} in " in asked.stderr


@pytest.mark.parametrize("command", [("retry",), ("drop", "--yes")])
def test_a_number_that_cannot_be_is_not_there(journal: Journal, command: tuple[str, ...]) -> None:
    """JRN-3: and the others are done all the same."""
    asked = ask(*command, NO_NUMBER, "2")

    assert asked.exit_code == 1
    assert f"there is no number {NO_NUMBER} in " in asked.stderr
    assert asked.stdout.startswith("2 ")


# ---- retry ---------------------------------------------------------------------------------------


def test_a_dead_one_is_retried_while_the_server_runs(journal: Journal) -> None:
    asked = ask("retry", "2")

    assert (asked.exit_code, asked.stdout) == (0, "2 will be run again\n")
    entry = journal.entry(2).result()
    assert entry is not None
    assert (entry.state, entry.attempts) == (State.PENDING, 0)


def test_all_dead_ones(journal: Journal) -> None:
    assert ask("retry", "--all-dead").stdout == "2 will be run again\n"
    assert "nothing is dead" in ask("retry", "--all-dead").stdout


def test_what_is_not_dead_cannot_be_retried(journal: Journal) -> None:
    asked = ask("retry", "1", "2", "99")

    assert asked.exit_code == 1
    assert asked.stdout == "2 will be run again\n"
    assert "1 is done: only failed or dead ones can be retried" in asked.stderr
    assert "there is no number 99 in " in asked.stderr


@pytest.mark.parametrize("arguments", [[], ["2", "--all-dead"]])
def test_retry_wants_numbers_or_all(arguments: list[str]) -> None:
    assert ask("retry", *arguments).exit_code == 2


# ---- drop ----------------------------------------------------------------------------------------


def test_dropping_asks_first(journal: Journal) -> None:
    refused = ask("drop", "2", answer="n\n")
    assert refused.exit_code == 1
    assert journal.entry(2).result() is not None

    assert ask("drop", "2", answer="y\n").exit_code == 0
    assert journal.entry(2).result() is None


def test_dropping_without_asking(journal: Journal) -> None:
    assert ask("drop", "2", "4", "--yes").stdout == "2 was removed\n4 was removed\n"


def test_one_that_runs_is_not_dropped(journal: Journal) -> None:
    asked = ask("drop", "3", "--yes")

    assert asked.exit_code == 1
    assert "3 is running: one that runs cannot be removed" in asked.stderr
    assert journal.entry(3).result() is not None


# ---- export --------------------------------------------------------------------------------------


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_export_is_redacted_unless_asked_otherwise(journal: Journal) -> None:
    asked = ask("export")

    told = lines(asked.stdout)
    assert [one["number"] for one in told] == [1, 2, 3, 4, 5]
    assert told[0]["body"]["item"] == 1
    assert told[0]["answer"]["status"] == 201
    assert secrets_in(asked.stdout) == []
    assert asked.stderr == "5 exported\n"


def test_a_raw_export_asks_and_holds_everything(journal: Journal) -> None:
    assert ask("export", "--raw", answer="n\n").exit_code == 1
    told = lines(ask("export", "--raw", "--yes", "--state", "pending").stdout)

    assert [one["number"] for one in told] == [4, 5]
    assert told[0]["body"].encode() == BODY
    assert ["Authorization", "Bearer s3cr3t"] in told[0]["headers"]


def test_an_exported_file_is_for_our_eyes_only(journal: Journal, tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    assert ask("export", "--output", str(file)).exit_code == 0

    assert len(lines(file.read_text())) == 5
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = ask("export", "--output", str(file))
    assert again.exit_code == 73
    assert "cannot be made: File exists" in again.stderr


# ---- what can be wrong ---------------------------------------------------------------------------


def test_no_journal_is_said_and_none_is_made(state: Path) -> None:
    asked = ask("list")

    assert asked.exit_code == 66
    assert f"there is no journal in {state}" in asked.stderr
    assert not state.exists()


def test_what_is_no_journal_is_left_alone(state: Path) -> None:
    state.mkdir()
    file = state / "journal.sqlite3"
    file.write_bytes(b"my diary" * 1000)
    asked = ask("list")

    assert asked.exit_code == 78
    assert file.read_bytes() == b"my diary" * 1000


def test_a_folder_of_another_user_is_said(
    journal: Journal, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JRN-3: with the exit status of a start that is refused for it."""
    real = Path.stat

    def stat(path: Path, **how: Any) -> Any:
        if path.parent == state:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stat)
        asked = ask("list")

    assert asked.exit_code == 73
    assert f"{state / 'journal.sqlite3'} cannot be opened" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1


def test_a_sealed_journal_wants_its_key(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.work.sealing import Seal

    opened = open_sqlite(state, max_bytes=1 << 20, seal=Seal("a secret that is longer than others"))
    opened.accept(an_order(1)).result()
    opened.close()

    assert ask("list").exit_code == 78
    monkeypatch.setenv("HOLDFAST_JOURNAL_KEY", "a secret that is longer than others")
    assert "\n1 " in ask("list").output


@pytest.mark.parametrize(
    "command", [("list",), ("show", "1"), ("retry", "2"), ("drop", "2", "--yes"), ("export",)]
)
def test_a_key_that_is_not_the_servers_seals_nothing(
    journal: Journal, state: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """JRN-1: else the server's next start would be refused, and its own key with it."""
    monkeypatch.setenv("HOLDFAST_JOURNAL_KEY", "mistyped" * 4)
    asked = ask(*command)

    assert asked.exit_code == 78
    assert "is not sealed; leave HOLDFAST_JOURNAL_KEY out" in asked.stderr
    assert "mistyped" not in asked.stderr
    open_sqlite(state, max_bytes=1 << 20).close()
    monkeypatch.delenv("HOLDFAST_JOURNAL_KEY")
    assert "\n2 " in ask("list").output


def test_where_it_is_may_stand_in_the_env_file_of_the_application(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: Path
) -> None:
    monkeypatch.delenv("HOLDFAST_STATE_DIR")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / ".env").write_text(f"HOLDFAST_STATE_DIR={state}\nPORT=nonsense\n")

    assert ask("list", "--app-dir", "app").exit_code == 0
    assert ask("list").exit_code == 66


def test_a_wrong_setting_of_the_journal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_JOURNAL_URL", "nonsense")
    asked = ask("list")

    assert asked.exit_code == 78
    assert "HOLDFAST_JOURNAL_URL" in asked.stderr


def test_a_redis_that_is_away_is_said_soon_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HOLDFAST_JOURNAL_URL", f"redis://:hunter2@127.0.0.1:{taken.getsockname()[1]}/0")
        monkeypatch.setattr("holdfast.cli.journal._PATIENCE_S", 0.1)
        asked = ask("list")

    assert asked.exit_code == 69
    assert len(asked.stderr.splitlines()) == 1
    assert "gave no answer" in asked.stderr
    assert secrets_in(asked.stderr) == []
