"""The environment is the process's, over `.env.{APP_ENV}`, over `.env`, and nothing is changed by reading."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dotenv import load_dotenv

from holdfast.settings.environment import PROCESS, Environment, export, load
from holdfast.settings.reading import Wanted, read_environment
from holdfast.settings.report import Misconfigured
from holdfast.settings.settings import Settings


def loaded(folder: Path, process: dict[str, str] | None = None, env_file: Path | None = None) -> Environment:
    return load(folder, process or {}, default="production", env_file=env_file)


def test_the_process_wins_over_its_environments_file_and_that_over_the_common_one(tmp_path: Path) -> None:
    """ENV-1."""
    (tmp_path / ".env").write_text("A=common\nB=common\nC=common\n")
    (tmp_path / ".env.production").write_text("A=own\nB=own\n")
    found = loaded(tmp_path, {"A": "process"})

    assert found.values == {"A": "process", "B": "own", "C": "common"}
    assert found.sources == {"A": PROCESS, "B": ".env.production", "C": ".env"}
    assert [one.name for one in found.files] == [".env", ".env.production"]


def test_an_explicit_file_wins_over_both_files_but_not_over_the_process(tmp_path: Path) -> None:
    """ENV-1."""
    (tmp_path / ".env").write_text("A=common\nB=common\n")
    (tmp_path / ".env.production").write_text("A=own\nB=own\n")
    explicit = tmp_path / "mine"
    explicit.write_text("A=mine\nB=mine\n")
    found = loaded(tmp_path, {"B": "process"}, explicit)

    assert (found.values["A"], found.values["B"]) == ("mine", "process")


def test_an_explicit_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (problem,) = loaded(tmp_path, env_file=tmp_path / "mine").problems

    assert problem.name == "--env-file"
    assert "there is no such file" in problem.wrong


def test_an_explicit_file_names_the_environment_and_may_be_a_pipe(tmp_path: Path) -> None:
    """`--env-file <(decrypt secrets)`: what was read once is gone."""
    (tmp_path / ".env.staging").write_text("A=own\nB=own\n")
    out, into = os.pipe()
    os.write(into, b"APP_ENV=staging\nA=mine\n")
    os.close(into)
    found = loaded(tmp_path, env_file=Path(f"/dev/fd/{out}"))
    os.close(out)

    assert (found.app_env, found.values["A"], found.values["B"]) == ("staging", "mine", "own")


@pytest.mark.parametrize(
    ("process", "common", "expected", "assumed"),
    [
        ({}, "", "production", True),
        ({}, "APP_ENV=staging", "staging", False),
        ({"APP_ENV": "test"}, "APP_ENV=staging", "test", False),
        ({"APP_ENV": "Development"}, "", "development", False),
        ({"APP_ENV": " "}, "", "production", True),
        ({"APP_ENV": " "}, "APP_ENV=dev", "development", False),
        ({"APP_ENV": "PROD"}, "", "production", False),
        ({"APP_ENV": "dev"}, "", "development", False),
        ({"APP_ENV": "local"}, "", "development", False),
        ({"APP_ENV": "stage"}, "", "staging", False),
        ({"APP_ENV": "testing"}, "", "test", False),
        ({"APP_ENV": "qa"}, "", "production", False),
    ],
)
def test_the_environments_name_comes_from_the_process_then_the_common_file_then_the_command(
    tmp_path: Path, process: dict[str, str], common: str, expected: str, assumed: bool
) -> None:
    """ENV-1: and the usual other words for the four are read; one that nobody can guess is production."""
    (tmp_path / ".env").write_text(common)
    found = loaded(tmp_path, process)
    settings, problems = Settings.examined(found.values, found.app_env)

    assert (expected, assumed) == (found.app_env, found.assumed)
    assert (expected, ()) == (settings.app_env, problems)


@pytest.mark.parametrize("given", ["prod", "dev", "Development", "QA", "  production"])
def test_the_application_sees_its_environments_name_as_it_was_given(tmp_path: Path, given: str) -> None:
    """PRM-5: it may know other words than ours, and only those."""
    process = {"APP_ENV": given}
    read_environment(wanted(tmp_path), process)

    assert process == {"APP_ENV": given}


def test_a_name_that_nobody_gave_is_not_given_to_the_application(tmp_path: Path) -> None:
    """PRM-5: to an application of `prod`, `dev` and `test` there is no `production`."""
    process: dict[str, str] = {}
    environment, settings = read_environment(wanted(tmp_path), process)

    assert (environment.assumed, settings.app_env) == (True, "production")
    assert process == {}


@pytest.mark.parametrize(
    ("given", "there", "read"),
    [
        ("prod", "prod production", ["prod"]),
        ("prod", "production", ["production"]),
        ("PROD", "prod production", ["prod"]),
        ("production", "prod production", ["production"]),
        ("Production", "Production production", ["Production"]),
        ("qa", "qa production", ["qa"]),
        ("qa", "production", []),
        ("", "prod production", ["production"]),
    ],
)
def test_an_environments_own_file_is_called_by_the_name_that_was_given_or_by_ours(
    tmp_path: Path, given: str, there: str, read: list[str]
) -> None:
    """ENV-1: one file, never two; and what is meant for production is not read for a word like `qa`."""
    for one in there.split():
        (tmp_path / f".env.{one}").touch()
    found = loaded(tmp_path, {"APP_ENV": given})

    assert [f".env.{one}" for one in read] == [one.name for one in found.files]


def test_a_file_is_named_for_mending_that_would_be_read(tmp_path: Path) -> None:
    """ENV-3."""
    problem = {"HOLDFAST_MAX_WATING": "1"}
    for given, there, own in (("prod", "prod", "prod"), ("prod", "qa", "production"), ("qa", "", "qa")):
        (tmp_path / f".env.{there}").touch()
        with pytest.raises(Misconfigured) as refused:
            read_environment(wanted(tmp_path), {"APP_ENV": given, **problem})
        (tmp_path / f".env.{there}").unlink()

        assert f".env.{own}, and start again" in refused.value.action


def test_a_name_that_nobody_gave_is_announced(tmp_path: Path) -> None:
    """ENV-1: and says so."""
    assert (
        loaded(tmp_path).announcement == "environment: production (assumed: APP_ENV is not set; no .env file)"
    )
    (tmp_path / ".env").touch()
    assert loaded(tmp_path, {"APP_ENV": "staging"}).announcement == "environment: staging (.env)"
    assert (
        loaded(tmp_path, {"APP_ENV": "prod"}).announcement
        == "environment: production (APP_ENV is 'prod'; .env)"
    )


@pytest.mark.parametrize("name", ["eu-west", "../secrets", "/../x/../.env.production", "x" * 5000, "qa\n"])
def test_an_unknown_name_reads_no_file_of_others_and_is_told(tmp_path: Path, name: str) -> None:
    """ENV-1, PRM-3, PRM-5: and the strict rules of production hold."""
    (tmp_path / ".env.production").write_text("A=own\n")
    process = {"APP_ENV": name}
    _, settings = read_environment(
        Wanted(folder=tmp_path, default="development", app_dir=tmp_path / "src"), process
    )
    (ignored,) = settings.ignored

    assert process == {"APP_ENV": name}
    assert settings.production
    assert (ignored.name, ignored.otherwise, ignored.source) == ("APP_ENV", "production", PROCESS)
    assert "must be development, staging, production or test" in ignored.wrong
    with pytest.raises(Misconfigured, match="shorter than 32 characters in production"):
        read_environment(wanted(tmp_path), {**process, "HOLDFAST_JOURNAL_KEY": "short"})


def test_a_file_that_names_another_environment_than_its_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env.production").write_text("APP_ENV=development\n")
    found = loaded(tmp_path)

    assert found.app_env == "production"
    assert "'development' in .env.production" in found.problems[0].wrong


def test_a_file_may_name_its_own_environment_by_another_word(tmp_path: Path) -> None:
    (tmp_path / ".env.prod").write_text("APP_ENV=production\n")

    assert loaded(tmp_path, {"APP_ENV": "prod"}).problems == ()


def test_a_line_that_cannot_be_read_is_named_and_not_quoted(tmp_path: Path) -> None:
    """ENV-3."""
    (tmp_path / ".env").write_text("A=1\n\n# why\nmy password is hunter2\nB=2\n")
    found = loaded(tmp_path)

    assert (found.values["A"], found.values["B"]) == ("1", "2")
    assert found.problems[0].name == ".env:4"
    assert "hunter2" not in found.problems[0].line()


@pytest.mark.parametrize("content", [b"A=\xff\xfe\n", b"A=a\0b\n"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)

    assert loaded(tmp_path).problems[0].name.startswith(".env")


def test_files_are_read_as_python_dotenv_reads_them(tmp_path: Path) -> None:
    """PRM-5: an application that loads them itself sees the same."""
    (tmp_path / ".env").write_text(
        "\ufeffexport A='x # y' # note\nB=\"two\\nlines\"\nC=${A}-${HOME_OF_C:-none}\nD\nE=\nF=${G}\n"
    )
    values = loaded(tmp_path, {"G": "process"}).values

    assert values["A"] == "x # y"
    assert values["B"] == "two\nlines"
    assert values["C"] == "x # y-none"
    assert "D" not in values
    assert (values["E"], values["F"]) == ("", "process")


def test_whatever_its_quotes_a_value_is_what_python_dotenv_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PRM-5: it replaces names in single quotes too, and a name of the process's by the process's value."""
    file = tmp_path / ".env"
    file.write_text(
        "A='single # ${SHOP_HOME} x' # why\nB=\"double ${SHOP_HOME}\"\nC=plain ${SHOP_HOME} # why\n"
        "D='two\nlines ${NOWHERE:-none}'\nE=\\${SHOP_HOME}\nF='a\\'b ${A}'\nSHOP_HOME=file\nG=$SHOP_HOME\n"
    )
    monkeypatch.setattr(os, "environ", {"SHOP_HOME": "/process"})
    ours = dict(loaded(tmp_path, dict(os.environ)).values)
    load_dotenv(file)

    assert ours == os.environ
    assert ours["A"] == "single # /process x"


def test_a_folder_of_that_name_is_not_taken_for_a_file(tmp_path: Path) -> None:
    """It is how some call their virtual environment."""
    (tmp_path / ".env").mkdir()

    assert loaded(tmp_path).problems == ()


def test_reading_leaves_the_process_as_it_was_and_exporting_does_not(tmp_path: Path) -> None:
    """ENV-1: loaded before the application is imported."""
    (tmp_path / ".env").write_text("HOLDFAST_TEST_ONLY=1\n")
    process: dict[str, str] = {"PATH": "/bin"}
    found = loaded(tmp_path, process)
    assert process == {"PATH": "/bin"}
    assert "HOLDFAST_TEST_ONLY" not in os.environ

    export(found, process)

    assert process == {"PATH": "/bin", "HOLDFAST_TEST_ONLY": "1"}


def test_options_of_the_command_line_win_over_everything(tmp_path: Path) -> None:
    """ENV-1."""
    found = loaded(tmp_path, {"PORT": "1"}).override({"PORT": "2"}, "--port")

    assert (found.values["PORT"], found.sources["PORT"]) == ("2", "--port")


def test_no_value_stands_in_the_repr(tmp_path: Path) -> None:
    assert "hunter2" not in repr(loaded(tmp_path, {"A": "hunter2"}))


def wanted(folder: Path) -> Wanted:
    return Wanted(folder=folder, default="production")


def test_the_whole_phase_returns_settings_and_exports(tmp_path: Path) -> None:
    """ENV-1."""
    (tmp_path / ".env").write_text("PORT=9001\nSHOP=1\n")
    process: dict[str, str] = {"HOLDFAST_MAX_WAIT_MS": "5"}
    asked = Wanted(folder=tmp_path, default="development", options={"HOST": "0.0.0.0"})
    environment, settings = read_environment(asked, process)

    assert (settings.host, settings.port, settings.max_wait_s) == ("0.0.0.0", 9001, 0.005)
    assert (settings.app_env, environment.assumed) == ("development", True)
    assert process == {"HOLDFAST_MAX_WAIT_MS": "5", "PORT": "9001", "SHOP": "1"}


@pytest.mark.parametrize("given", [{}, {"LOG_LEVEL": "INFO", "PORT": "4444", "HOST": "0.0.0.0"}])
def test_options_are_said_to_us_and_not_to_the_application(tmp_path: Path, given: dict[str, str]) -> None:
    """ENV-1, PRM-5: its `LOG_LEVEL` may have words of its own, and its `PORT` be another one."""
    process = dict(given)
    options = {"LOG_LEVEL": "debug", "PORT": "1234", "HOST": "127.0.0.2"}
    _, settings = read_environment(Wanted(folder=tmp_path, default="production", options=options), process)

    assert (settings.log_level, settings.port, settings.host) == ("debug", 1234, "127.0.0.2")
    assert process == given


def test_the_whole_phase_tells_everything_wrong_at_once(tmp_path: Path) -> None:
    """ENV-3: files, settings and what the application declares, in one report."""
    (tmp_path / ".env").write_text("not a line\nPORT=http\n")
    (tmp_path / ".env.example").write_text(
        "# where orders are kept\nSHOP_DSN=postgresql://db/shop\nPORT=8000\n"
    )
    with pytest.raises(Misconfigured) as refused:
        read_environment(wanted(tmp_path), {"HOLDFAST_MAX_WATING": "1"})

    assert [one.name for one in refused.value.problems] == [
        ".env:1",
        "PORT",
        "HOLDFAST_MAX_WATING",
        "SHOP_DSN",
    ]
    assert "PORT is 'http' but must be a whole number (from .env)" in str(refused.value)


def test_an_option_is_the_port_that_the_application_declares_and_nothing_else(tmp_path: Path) -> None:
    """ENV-1, ENV-2: of what the application reads itself it sees no option."""
    (tmp_path / ".env.example").write_text("PORT=8000\nLOG_LEVEL=INFO\n")
    options = {"PORT": "9001", "LOG_LEVEL": "debug"}
    with pytest.raises(Misconfigured) as refused:
        read_environment(Wanted(folder=tmp_path, default="production", options=options), {})

    assert [one.name for one in refused.value.problems] == ["LOG_LEVEL"]


def test_a_port_that_the_application_declares_has_no_default(tmp_path: Path) -> None:
    """ENV-1, ENV-2, ENV-5."""
    (tmp_path / ".env.example").write_text("PORT=8000 # where the proxy looks\n")
    with pytest.raises(Misconfigured) as refused:
        read_environment(wanted(tmp_path), {})

    assert "PORT is missing; .env.example names it | where the proxy looks | for example PORT=8000" in str(
        refused.value
    )


def test_the_file_of_a_mistyped_environment_is_not_what_is_to_be_mended(tmp_path: Path) -> None:
    """ENV-3."""
    with pytest.raises(Misconfigured) as refused:
        read_environment(wanted(tmp_path), {"APP_ENV": "prodd"})

    assert "did you mean prod?" in str(refused.value)
    assert ".env.prodd" not in str(refused.value)
