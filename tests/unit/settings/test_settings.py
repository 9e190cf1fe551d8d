"""What holdfast reads from the environment: names, defaults, refusals."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from holdfast.settings.report import Misconfigured, Problem
from holdfast.settings.settings import KNOWN, NAMES, Settings
from holdfast.settings.shared import COMMAND_LINE, OTHERWISE

STRONG = "kT7v-Qm2zX9_rW4bN8sL1pD6fH3gJ5cA0yE"

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "start_without_database": None,
    "connect_attempts": 5,
    "probe_port": None,
    "database_url": None,
    "db_pool_min": 2,
    "db_pool_max": 20,
    "db_connect_timeout_s": 10.0,
    "db_statement_timeout_s": 30.0,
    "db_ssl": None,
    "db_heartbeat_s": 30.0,
    "suspect_after_s": 1.0,
    "max_retry_attempts": 3,
    "retry_base_delay_s": 0.1,
    "request_timeout_s": 30.0,
    "max_wait_s": 10.0,
    "max_waiting": 1000,
    "fail_fast_after_s": 60.0,
    "replay_body_bytes": 65536,
    "client_url": None,
    "error_format": "problem",
    "log_format": None,
    "log_level": "info",
    "prestop_s": 0.0,
    "shutdown_timeout_s": 10.0,
    "state_dir": Path(".holdfast"),
    "diagnostics_auth_required": True,
    "enable_diagnostics": None,
}

GIVEN = [
    ("HOLDFAST_START_WITHOUT_DATABASE", "false", "start_without_database", False),
    ("HOLDFAST_CONNECT_ATTEMPTS", "7", "connect_attempts", 7),
    ("HOLDFAST_PROBE_PORT", " 9000 ", "probe_port", 9000),
    ("DB_POOL_MIN", "0", "db_pool_min", 0),
    ("DB_CONNECT_TIMEOUT_MS", "2500", "db_connect_timeout_s", 2.5),
    ("HOLDFAST_MAX_WAIT_MS", "86400000", "max_wait_s", 86400.0),
    ("DB_STATEMENT_TIMEOUT", "0", "db_statement_timeout_s", 0.0),
    ("DB_SSL", "true", "db_ssl", "require"),
    ("DB_SSL", "verify-full", "db_ssl", "verify-full"),
    ("HOLDFAST_REPLAY_BODY_BYTES", "64k", "replay_body_bytes", 65536),
    ("HOLDFAST_JOURNAL_ORDER_BY", " X-User ", "journal_order_by", "X-User"),
    ("HOLDFAST_ERROR_FORMAT", "Simple", "error_format", "simple"),
    ("LOG_LEVEL", "WARN", "log_level", "warning"),
    ("LOG_LEVEL", "TRACE", "log_level", "debug"),
    ("LOG_LEVEL", "NOTSET", "log_level", "debug"),
    ("LOG_LEVEL", "0", "log_level", "debug"),
    ("LOG_LEVEL", "30", "log_level", "warning"),
    ("LOG_LEVEL", "60", "log_level", "critical"),
    ("LOG_FORMAT", "Console", "log_format", "human"),
    ("MAX_RETRY_ATTEMPTS", "0", "max_retry_attempts", 1),
    ("DB_STATEMENT_TIMEOUT", "500ms", "db_statement_timeout_s", 0.5),
    ("DB_STATEMENT_TIMEOUT", "2147483647", "db_statement_timeout_s", 2147483.647),
    ("DB_STATEMENT_TIMEOUT", "2min", "db_statement_timeout_s", 120.0),
    ("CLIENT_URL", "https://a.example,", "client_url", "https://a.example"),
    ("CLIENT_URL", "https://a.example, http://b:5173", "client_url", "https://a.example,http://b:5173"),
    ("HOLDFAST_STATE_DIR", "/var/lib/shop", "state_dir", Path("/var/lib/shop")),
    ("DATABASE_URL", "sqlite:///shop.db", "database_url", "sqlite:///shop.db"),
    (
        "DATABASE_URL",
        "postgresql://u:p@a:5432,b:5432/shop",
        "database_url",
        "postgresql://u:p@a:5432,b:5432/shop",
    ),
]

WRONG = [
    ("PORT", "0", "from 1 to 65535"),
    ("PORT", "eight", "is 'eight' but must be a whole number"),
    ("HOLDFAST_MAX_WAIT_MS", "-1", "at least 0"),
    ("HOLDFAST_SHUTDOWN_TIMEOUT_MS", "99999999999999", "at most 2147483647 (24 days)"),
    ("HOLDFAST_SUSPECT_AFTER_MS", "2147483648", "at most 2147483647 (24 days)"),
    ("HOLDFAST_MAX_WAIT_MS", "10s", "a whole number of milliseconds"),
    ("HOLDFAST_START_WITHOUT_DATABASE", "maybe", "must be true or false"),
    ("HOLDFAST_ERROR_FORMAT", "simpel", "did you mean simple?"),
    ("HOLDFAST_REPLAY_BODY_BYTES", "lots", "a number of bytes"),
    ("DB_SSL", "requird", "must be true, false or one of"),
    ("DB_POOL_MAX", "0", "at least 1"),
    ("DB_STATEMENT_TIMEOUT", "soon", "a whole number of milliseconds"),
    ("DB_STATEMENT_TIMEOUT", "2147483648", "at most 2147483647 ms"),
    ("DB_STATEMENT_TIMEOUT", "600h", "at most 2147483647 ms"),
    ("ENABLE_DIAGNOSTICS", "flase", "must be true or false"),
    ("HOLDFAST_STATE_DIR", "s3://shop/state", "must be a folder"),
    (
        "HOLDFAST_JOURNAL",
        "PSOT /before",
        "is 'PSOT /before' but must begin with a known method, such as POST",
    ),
    ("HOLDFAST_JOURNAL", "PSOT /before", "did you mean POST?"),
    ("HOLDFAST_REQUIRE_KEY", "ZZZ /a", "a known method"),
    ("HOLDFAST_JOURNAL_ORDER_BY", "X-User, X-Tenant", "the name of one header"),
    ("HOLDFAST_JOURNAL_ORDER_BY", "X-Üser", "the name of one header"),
    ("HOLDFAST_JOURNAL_ORDER_BY", "X User", "the name of one header"),
    ("APP_ENV", "prodution", "did you mean production?"),
    ("APP_ENV", "prodd", "must be development, staging, production or test; did you mean prod?"),
    ("HOLDFAST_MAX_WAITNG", "3", "did you mean HOLDFAST_MAX_WAITING?"),
    ("HOLDFAST_ZZZZ", "3", "is no setting of holdfast"),
]

THEIRS = [
    ("APP_ENV", "eu-west", "must be development, staging, production or test"),
    ("LOG_FORMAT", "%(message)s", "is '%(message)s' but must be human or json"),
    ("LOG_LEVEL", "chatty", "debug, info, warning, error or critical"),
    ("DATABASE_URL", "host=db dbname=shop password=hunter2", "must be a URL such as"),
    ("DATABASE_URL", "localhost/shop", "must be a URL such as"),
    ("MAX_RETRY_ATTEMPTS", "-1", "at least 0"),
    ("RETRY_BASE_DELAY_MS", "0.5", "a whole number of milliseconds"),
    ("REQUEST_TIMEOUT_MS", "0", "at least 1"),
    ("CLIENT_URL", "*", "must name each origin"),
    ("CLIENT_URL", "shop.example", "must be a URL"),
    ("UPLOAD_DIR", "s3://shop/uploads", "must be a folder, not an address"),
]


def problems_of(environ: dict[str, str]) -> tuple[Problem, ...]:
    with pytest.raises(Misconfigured) as refused:
        Settings.from_environment(environ)
    return refused.value.problems


@pytest.mark.parametrize(("attribute", "value"), DEFAULTS.items())
def test_defaults_are_the_documented_ones(attribute: str, value: object) -> None:
    """ENV-5, sections 2 to 16: the number in the documentation is the number in force."""
    assert value == getattr(Settings.from_environment({}), attribute)


@pytest.mark.parametrize(("name", "text", "attribute", "value"), GIVEN)
def test_what_is_given_is_read(name: str, text: str, attribute: str, value: object) -> None:
    assert value == getattr(Settings.from_environment({name: text}), attribute)


@pytest.mark.parametrize(("name", "text", "wrong"), WRONG)
def test_what_is_wrong_is_refused_by_name(name: str, text: str, wrong: str) -> None:
    """ENV-3, ENV-5: never repaired silently."""
    (problem,) = problems_of({name: text})

    assert name == problem.name
    assert wrong in problem.wrong


@pytest.mark.parametrize(("name", "text", "wrong"), THEIRS)
def test_what_an_application_means_for_itself_stops_nobody(name: str, text: str, wrong: str) -> None:
    """PRM-5, PRM-3: the default holds, and what was not understood is kept to be told."""
    settings = Settings.from_environment({name: text}, sources={name: ".env"})
    (ignored,) = settings.ignored

    assert settings == Settings()
    assert (name, ".env") == (ignored.name, ignored.source)
    assert wrong in ignored.wrong
    assert ignored.otherwise
    assert "hunter2" not in repr(ignored)


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_said_to_holdfast_alone_is_refused(name: str) -> None:
    """ENV-3: an option of the command line is meant for nobody else."""
    wrong = {name: "s3://*"}
    _, problems = Settings.examined(wrong, sources={name: COMMAND_LINE})
    _, elsewhere = Settings.examined(wrong, listens=False)

    assert [one.name for one in problems] == ([] if name == "DATABASE_URL" else [name])
    assert elsewhere == ()


def test_what_holds_instead_is_the_default() -> None:
    told = {OTHERWISE[one.name] for one in KNOWN.values() if one.name in OTHERWISE}
    numbers = {one.example for one in KNOWN.values() if OTHERWISE.get(one.name, "").isdigit()}

    assert set(OTHERWISE) <= NAMES
    assert numbers == {one for one in told if one.isdigit()}


def test_a_default_in_place_of_what_was_not_understood_contradicts_nobody() -> None:
    """PORT is somebody else's where we do not listen."""
    settings, problems = Settings.examined({"PORT": "pipe", "HOLDFAST_PROBE_PORT": "8000"}, listens=False)

    assert problems == ()
    assert [one.name for one in settings.ignored] == ["PORT"]


def test_everything_wrong_is_told_at_once() -> None:
    """ENV-3: with the line's purpose and example, and the way out."""
    with pytest.raises(Misconfigured) as refused:
        Settings.from_environment({"PORT": "http", "HOLDFAST_MAX_WAIT_MS": "long", "HOLDFAST_X": "1"})

    message = str(refused.value)
    assert [one.name for one in refused.value.problems] == ["PORT", "HOLDFAST_MAX_WAIT_MS", "HOLDFAST_X"]
    assert refused.value.exit_status == 78
    assert "holdfast could not start: environment" in message
    assert (
        "- PORT is 'http' but must be a whole number | port to listen on | for example PORT=8000" in message
    )
    assert "Action:\n  Set what is named above" in message


@pytest.mark.parametrize(
    ("problem", "words", "example"),
    [
        (Problem("PORT", "is missing", example="1"), "environment or in .env.test", "PORT=1"),
        (Problem("PORT", "is '0'", example="1", source=COMMAND_LINE), "option of the command", "--port 1"),
        (Problem("LOG_LEVEL", "is 'x'", example="info", source=COMMAND_LINE), "option", "--log-level info"),
        (Problem("--env-file", "names x", example=".env.x"), "option of the command", "--env-file .env.x"),
        (Problem("[tool.holdfast] x", "is none", source="pyproject.toml"), "Correct pyproject.toml", "x"),
        (Problem("pyproject.toml", "cannot be read"), "Correct pyproject.toml", ""),
        (Problem(".env:3", "is not NAME=value"), "Correct the file", ""),
    ],
)
def test_the_way_out_is_where_the_mistake_is(problem: Problem, words: str, example: str) -> None:
    """ENV-3: a variable does not help against an option or a line of pyproject.toml."""
    refused = Misconfigured([problem], "test")

    assert words in refused.action
    assert ("environment" in refused.action) == (problem.name == "PORT" and not problem.source)
    assert example in str(refused)


def test_every_way_out_is_told_once() -> None:
    problems = [Problem("A", "is missing"), Problem("B", "is missing"), Problem("--env-file", "names x")]

    assert len(Misconfigured(problems).action.splitlines()) == 3


@pytest.mark.parametrize("name", ["HOLDFAST_REQUIRE_KEY", "[tool.holdfast] require_key"])
def test_routes_that_need_a_key_are_no_secret(name: str) -> None:
    """ENV-3: what was given is shown, and no advice on secrets is."""
    (problem,) = problems_of({"HOLDFAST_REQUIRE_KEY": "orders"})
    told = str(Misconfigured([replace(problem, name=name)]))

    assert "is 'orders' but must be routes such as POST /orders" in told
    assert "secret" not in told
    assert "random" not in told


def test_a_problem_says_where_the_value_was_read() -> None:
    _, (problem,) = Settings.examined({"PORT": "x"}, sources={"PORT": ".env.staging"})

    assert "(from .env.staging)" in problem.line()


@pytest.mark.parametrize("name", ["JWT_SECRET", "DIAGNOSTICS_TOKEN"])
def test_a_secret_is_never_echoed(name: str) -> None:
    """ENV-3: neither its text nor its length."""
    environ = {name: "hunter2 hunter2", "APP_ENV": "production", "ENABLE_DIAGNOSTICS": "true"}
    with pytest.raises(Misconfigured) as refused:
        Settings.from_environment(environ)

    assert "hunter2" not in str(refused.value)
    assert "15" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app:hunter2@db:54x32/shop",
        "postgresql://app:sw0rd/fish@db/shop",
        "postgresql://app:hunter2@fish:5@db:5432/shop",
        "postgresql://app:hunter2@fish@a:5432,b:5432/shop",
    ],
)
def test_a_url_that_cannot_be_taken_apart_is_not_quoted(text: str) -> None:
    """The standard library's own message quotes what it took for the port: half of a password."""
    (ignored,) = Settings.from_environment({"DATABASE_URL": text}).ignored

    assert "%2F" in ignored.wrong
    assert "fish" not in ignored.wrong
    assert "hunter2" not in ignored.wrong
    assert "54x32" not in ignored.wrong


def test_no_secret_stands_in_the_repr() -> None:
    settings = Settings.from_environment(
        {
            "DATABASE_URL": "postgresql://app:hunter2@db/shop",
            "JWT_SECRET": STRONG,
            "DIAGNOSTICS_TOKEN": STRONG,
        }
    )

    assert "hunter2" not in repr(settings)
    assert STRONG not in repr(settings)


def test_an_empty_variable_counts_as_absent() -> None:
    settings = Settings.from_environment({"PORT": "", "HOLDFAST_PROBE_PORT": "  "})

    assert (settings.port, settings.probe_port) == (8000, None)


def test_two_settings_that_contradict_each_other_are_refused() -> None:
    (pool,) = problems_of({"DB_POOL_MIN": "30"})
    (probe,) = problems_of({"HOLDFAST_PROBE_PORT": "8000"})

    assert "more than DB_POOL_MAX (20)" in pool.wrong
    assert "the same as PORT" in probe.wrong


def test_a_pool_smaller_than_the_default_least_is_no_contradiction() -> None:
    """ENV-3, DB-3: nobody is told of a variable that nobody set; what somebody set is judged."""
    (problem,) = problems_of({"DB_POOL_MAX": "1", "DB_POOL_MIN": "2"})

    assert Settings.from_environment({"DB_POOL_MAX": "1"}).db_pool_min == 1
    assert Settings.from_environment({"DB_POOL_MAX": "7"}).db_pool_min == 2
    assert problem.wrong == "is 2, more than DB_POOL_MAX (1)"


def test_a_contradiction_is_told_beside_what_could_not_be_read_unless_it_follows_from_it() -> None:
    """ENV-3: everything at once."""
    found = problems_of({"PORT": "http", "DB_POOL_MIN": "30", "DIAGNOSTICS_TOKEN": "short"})
    follows = problems_of({"DB_POOL_MAX": "many", "DB_POOL_MIN": "30"})

    assert [one.name for one in found] == ["PORT", "DB_POOL_MIN", "DIAGNOSTICS_TOKEN"]
    assert [one.name for one in follows] == ["DB_POOL_MAX"]


def test_a_weak_token_is_refused_in_production_only() -> None:
    """ENV-4: at least 32 characters there, and no known placeholder."""
    (problem,) = problems_of({"DIAGNOSTICS_TOKEN": "short"})

    assert problem.wrong == "is shorter than 32 characters in production"
    assert (
        Settings.from_environment({"DIAGNOSTICS_TOKEN": "short"}, "development").diagnostics_token == "short"
    )


@pytest.mark.parametrize("weak", ["0", "a", "changeme-changeme-changeme-changeme"])
def test_a_weak_key_of_the_journal_is_refused_in_production_only(weak: str) -> None:
    """ENV-4, JRN-1: what is encrypted under it lies on a disk."""
    (problem,) = problems_of({"HOLDFAST_JOURNAL_KEY": weak})

    assert problem.name == "HOLDFAST_JOURNAL_KEY"
    assert "in production" in problem.wrong
    assert Settings.from_environment({"HOLDFAST_JOURNAL_KEY": weak}, "test").journal_key == weak
    assert Settings.from_environment({"HOLDFAST_JOURNAL_KEY": STRONG}).journal_key == STRONG


def test_a_placeholder_is_refused_however_long_it_is() -> None:
    (problem,) = problems_of({"DIAGNOSTICS_TOKEN": "dev_secret_key_change_me_in_production_please"})

    assert problem.wrong == "is a known placeholder: anyone can guess it in production"


def test_the_applications_own_weak_jwt_secret_does_not_stop_it_but_opens_no_door() -> None:
    """PRM-5, DIA-1: it is refused only where it would let an admin in."""
    settings = Settings.from_environment({"JWT_SECRET": "short"})
    (problem,) = problems_of({"JWT_SECRET": "short", "ENABLE_DIAGNOSTICS": "true"})

    assert not settings.diagnostics
    assert problem.name == "JWT_SECRET"


@pytest.mark.parametrize(
    ("environ", "served"),
    [
        ({}, False),
        ({"APP_ENV": "development"}, True),
        ({"DIAGNOSTICS_TOKEN": STRONG}, True),
        ({"JWT_SECRET": STRONG}, True),
        ({"JWT_SECRET": STRONG, "ENABLE_DIAGNOSTICS": "false"}, False),
        ({"ENABLE_DIAGNOSTICS": "true"}, False),
        ({"DIAGNOSTICS_AUTH_REQUIRED": "false"}, True),
    ],
)
def test_diagnostics_are_off_in_production_when_nobody_could_be_let_in(
    environ: dict[str, str], served: bool
) -> None:
    """DIA-1."""
    assert served == Settings.from_environment(environ).diagnostics


def test_the_environments_own_name_wins_over_the_commands_default() -> None:
    """ENV-1."""
    assert Settings.from_environment({}).production
    assert Settings.from_environment({}, "development").app_env == "development"
    assert Settings.from_environment({"APP_ENV": "staging"}, "development").app_env == "staging"


def test_origins_are_what_a_browser_sends() -> None:
    """REQ-9."""
    settings = Settings.from_environment({"CLIENT_URL": "https://Shop.example/app/,http://localhost:5173"})

    assert settings.origins == ("https://shop.example", "http://localhost:5173")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_a_refusal_survives_the_way_between_processes() -> None:
    with pytest.raises(Misconfigured) as refused:
        Settings.from_environment({"PORT": "x"})
    copy = pickle.loads(pickle.dumps(refused.value))

    assert str(refused.value) == str(copy)
    assert refused.value.problems == copy.problems


def test_each_setting_is_explained_and_its_example_can_be_read() -> None:
    """ENV-3: what it is for and an example."""
    assert len(NAMES) == len(KNOWN)
    for setting in KNOWN.values():
        setting.read(setting.example)

        assert setting.purpose


def test_reading_settings_imports_no_library() -> None:
    """PRF-6: settings stand on the way to every start."""
    code = (
        "import sys, holdfast.settings.settings as s; s.Settings.from_environment({});"
        "print(sorted({'pydantic', 'dotenv', 'psutil', 'asyncio', 'difflib'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"
