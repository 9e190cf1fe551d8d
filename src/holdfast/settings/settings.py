"""What holdfast can be told, read once from the environment, and refused when wrong.

The one owner of names, defaults, readers and explanations. Importing it costs next to nothing:
it stands on the way to every start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from holdfast.policy.routes import Routes
from holdfast.settings import parse
from holdfast.settings.report import Misconfigured, Problem, may_show
from holdfast.settings.shared import OTHERWISE, Ignored, may_be_theirs

_OURS = "HOLDFAST_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable of the environment: how it is read, and how it is explained."""

    name: str
    read: Callable[[str], object]
    purpose: str
    example: str


def _is(default: object, setting: Setting) -> Any:
    return field(default=default, repr=may_show(setting.name), metadata={"setting": setting})


_LATER = parse.milliseconds(0)
_SOON = parse.milliseconds(1)
_PORT = parse.whole(1, 65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting; durations are in seconds, sizes in bytes. An empty variable counts as absent."""

    app_env: str = _is(
        "production",
        Setting("APP_ENV", parse.app_env, "which environment this is", "production"),
    )
    host: str = _is("127.0.0.1", Setting("HOST", parse.text, "address to listen on", "127.0.0.1"))
    port: int = _is(8000, Setting("PORT", _PORT, "port to listen on", "8000"))

    start_without_database: bool | None = _is(
        None,
        Setting(
            "HOLDFAST_START_WITHOUT_DATABASE",
            parse.boolean,
            "whether to start while the database is away (unset: only in development)",
            "true",
        ),
    )
    connect_attempts: int = _is(
        5,
        Setting("HOLDFAST_CONNECT_ATTEMPTS", parse.whole(1), "attempts to reach a database at startup", "5"),
    )
    probe_port: int | None = _is(
        None,
        Setting("HOLDFAST_PROBE_PORT", _PORT, "port of the listener for an orchestrator's probes", "9000"),
    )

    database_url: str | None = _is(
        None,
        Setting("DATABASE_URL", parse.url(host=False), "the database", "postgresql://app:***@localhost/shop"),
    )
    db_pool_min: int = _is(
        2, Setting("DB_POOL_MIN", parse.whole(0), "connections kept open to a database", "2")
    )
    db_pool_max: int = _is(20, Setting("DB_POOL_MAX", parse.whole(1), "most connections to a database", "20"))
    db_connect_timeout_s: float = _is(
        10.0, Setting("DB_CONNECT_TIMEOUT_MS", _SOON, "how long connecting may take", "10000")
    )
    db_statement_timeout_s: float = _is(
        30.0,
        Setting(
            "DB_STATEMENT_TIMEOUT",
            parse.statement_timeout,
            "how long a statement may run (0: no limit)",
            "30000",
        ),
    )
    db_ssl: str | None = _is(
        None, Setting("DB_SSL", parse.ssl_mode, "encryption of database connections", "require")
    )
    db_heartbeat_s: float = _is(
        30.0, Setting("DB_HEARTBEAT_MS", _SOON, "how often a database's health is looked at", "30000")
    )
    suspect_after_s: float = _is(
        1.0,
        Setting("HOLDFAST_SUSPECT_AFTER_MS", _SOON, "silence that makes a database suspect", "1000"),
    )

    max_retry_attempts: int = _is(
        3, Setting("MAX_RETRY_ATTEMPTS", parse.attempts, "attempts, the first counts (1: no retry)", "3")
    )
    retry_base_delay_s: float = _is(
        0.1, Setting("RETRY_BASE_DELAY_MS", _LATER, "wait before the second attempt; doubles", "100")
    )
    request_timeout_s: float = _is(
        30.0, Setting("REQUEST_TIMEOUT_MS", _SOON, "how long a request may take, waiting included", "30000")
    )
    max_wait_s: float = _is(
        10.0, Setting("HOLDFAST_MAX_WAIT_MS", _LATER, "how long a request waits for a database", "10000")
    )
    max_waiting: int = _is(
        1000, Setting("HOLDFAST_MAX_WAITING", parse.whole(0), "how many requests may wait at once", "1000")
    )
    fail_fast_after_s: float = _is(
        60.0,
        Setting(
            "HOLDFAST_FAIL_FAST_AFTER_MS", _LATER, "outage after which new requests do not wait", "60000"
        ),
    )
    replay_body_bytes: int = _is(
        65536,
        Setting("HOLDFAST_REPLAY_BODY_BYTES", parse.size, "longest body kept for running again", "65536"),
    )
    idempotency: bool = _is(
        True, Setting("HOLDFAST_IDEMPOTENCY", parse.boolean, "whether keys are kept in the database", "true")
    )
    idempotency_schema: str | None = _is(
        None,
        Setting("HOLDFAST_IDEMPOTENCY_SCHEMA", parse.identifier, "schema of the table of keys", "holdfast"),
    )
    idempotency_body_bytes: int = _is(
        65536,
        Setting("HOLDFAST_IDEMPOTENCY_BODY_BYTES", parse.size, "longest answer kept under a key", "65536"),
    )
    require_key: Routes = _is(  # noqa: RUF009 - it makes a field
        Routes(),
        Setting("HOLDFAST_REQUIRE_KEY", parse.routes, "routes that need an Idempotency-Key", "POST /orders"),
    )
    commit_status: bool = _is(
        False,
        Setting(
            "HOLDFAST_COMMIT_STATUS",
            parse.boolean,
            "whether commits without a key can be asked about",
            "true",
        ),
    )
    journal: Routes = _is(  # noqa: RUF009 - it makes a field
        Routes(),
        Setting("HOLDFAST_JOURNAL", parse.routes, "routes whose requests are journaled", "POST /orders"),
    )
    journal_url: str | None = _is(
        None,
        Setting(
            "HOLDFAST_JOURNAL_URL",
            parse.redis_url,
            "a journal for several machines",
            "redis://localhost:6379/0",
        ),
    )
    journal_key: str | None = _is(
        None, Setting("HOLDFAST_JOURNAL_KEY", parse.text, "encrypts the journal at rest", "secret")
    )
    journal_max_bytes: int = _is(
        256 * 1024 * 1024,
        Setting("HOLDFAST_JOURNAL_MAX_BYTES", parse.size, "most that the journal may hold", "256m"),
    )
    journal_body_bytes: int = _is(
        1024 * 1024,
        Setting("HOLDFAST_JOURNAL_BODY_BYTES", parse.size, "longest body that is journaled", "1m"),
    )
    journal_after_s: float = _is(
        8.0,
        Setting(
            "HOLDFAST_JOURNAL_AFTER_MS", _LATER, "how long a request waits before it is journaled", "8000"
        ),
    )
    journal_concurrency: int = _is(
        4,
        Setting("HOLDFAST_JOURNAL_CONCURRENCY", parse.whole(1, 1000), "journaled requests run at once", "4"),
    )
    journal_order_by: str | None = _is(
        None,
        Setting(
            "HOLDFAST_JOURNAL_ORDER_BY", parse.header, "header whose requests keep their order", "X-User"
        ),
    )
    client_url: str | None = _is(
        None, Setting("CLIENT_URL", parse.origins, "the front end, allowed by CORS", "https://shop.example")
    )
    error_format: str = _is(
        "problem",
        Setting("HOLDFAST_ERROR_FORMAT", parse.choice("problem", "simple"), "shape of our errors", "problem"),
    )

    log_format: str | None = _is(
        None,
        Setting("LOG_FORMAT", parse.log_format, "log lines (unset: human on a terminal)", "json"),
    )
    log_level: str = _is("info", Setting("LOG_LEVEL", parse.level, "least level that is logged", "info"))
    state_dir: Path = _is(  # noqa: RUF009 - it makes a field
        Path(".holdfast"),
        Setting("HOLDFAST_STATE_DIR", parse.folder, "folder of what holdfast keeps", ".holdfast"),
    )
    log_dir: Path | None = _is(  # noqa: RUF009 - it makes a field
        None, Setting("LOG_DIR", parse.folder, "folder of log files", "./logs")
    )
    upload_dir: Path | None = _is(  # noqa: RUF009 - it makes a field
        None, Setting("UPLOAD_DIR", parse.folder, "folder of uploads", "./uploads")
    )

    prestop_s: float = _is(
        0.0,
        Setting("HOLDFAST_PRESTOP_MS", _LATER, "how long to accept requests after being told to stop", "0"),
    )
    shutdown_timeout_s: float = _is(
        10.0, Setting("HOLDFAST_SHUTDOWN_TIMEOUT_MS", _SOON, "how long stopping may take", "10000")
    )
    notify_socket: str | None = _is(
        None, Setting("NOTIFY_SOCKET", parse.text, "where systemd waits for READY=1", "/run/systemd/notify")
    )

    enable_diagnostics: bool | None = _is(
        None, Setting("ENABLE_DIAGNOSTICS", parse.boolean, "whether to serve diagnostics", "true")
    )
    diagnostics_auth_required: bool = _is(
        True, Setting("DIAGNOSTICS_AUTH_REQUIRED", parse.boolean, "diagnostics for admins only", "true")
    )
    diagnostics_token: str | None = _is(
        None, Setting("DIAGNOSTICS_TOKEN", parse.text, "lets an admin read the diagnostics", "secret")
    )
    jwt_secret: str | None = _is(
        None, Setting("JWT_SECRET", parse.text, "signs the tokens that name an admin", "secret")
    )

    ignored: tuple[Ignored, ...] = field(default=(), repr=False, compare=False)
    """What was not understood and may be the application's own: to be told once, at the start."""

    @property
    def production(self) -> bool:
        """Whether the strict rules of production hold."""
        return self.app_env == "production"

    @property
    def origins(self) -> tuple[str, ...]:
        """`scheme://host[:port]` of each URL of CLIENT_URL, as a browser's Origin header has it."""
        parts = [urlsplit(one) for one in (self.client_url or "").split(",") if one]
        return tuple(f"{one.scheme}://{one.netloc.rpartition('@')[2]}".lower() for one in parts)

    @property
    def diagnostics(self) -> bool:
        """Whether diagnostics are served: in production only when someone can be let in."""
        if self.enable_diagnostics is False:
            return False
        if not self.production or not self.diagnostics_auth_required:
            return True
        keys = (self.diagnostics_token, self.jwt_secret)
        return any(key is not None and parse.weakness(key) is None for key in keys)

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        app_env: str | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> Self:
        """Read all settings; *app_env* holds where `APP_ENV` is absent, *sources* say where from.

        Raises `Misconfigured` with every problem at once.
        """
        settings, problems = cls.examined(environ, app_env, sources)
        if problems:
            raise Misconfigured(problems, settings.app_env)
        return settings

    @classmethod
    def examined(
        cls,
        environ: Mapping[str, str],
        app_env: str | None = None,
        sources: Mapping[str, str] | None = None,
        *,
        listens: bool = True,
    ) -> tuple[Self, tuple[Problem, ...]]:
        """The settings, with the default for whatever could not be read, and all problems.

        What is wrong under a name that applications use for their own is `ignored`, and no problem;
        so is `PORT` where it is not we who *listens*. An `APP_ENV` that is ignored is production.
        """
        where = sources or {}
        values: dict[str, Any] = {"app_env": app_env} if app_env else {}
        problems: list[Problem] = []
        ignored: list[Ignored] = []
        for attribute, setting in KNOWN.items():
            given = environ.get(setting.name, "")
            if not given.strip():
                continue
            try:
                values[attribute] = setting.read(given)
            except ValueError as error:
                wrong, source = _quoted(setting, given, error), where.get(setting.name, "")
                values.pop(attribute, None)  # *app_env* is for whoever said nothing
                slip = isinstance(error, parse.MistypedError)
                if not slip and may_be_theirs(setting.name, source, listens=listens):
                    ignored.append(Ignored(setting.name, wrong, OTHERWISE[setting.name], source))
                else:
                    problems.append(_problem(setting, wrong, where))
        settings = cls(**values, ignored=tuple(ignored))
        if "db_pool_min" not in values:  # a default gives way to what somebody set
            settings = replace(settings, db_pool_min=min(settings.db_pool_min, settings.db_pool_max))
        problems.extend(_unknown(environ, where))
        unread = {one.name for one in problems} | {one.name for one in ignored if one.name != "APP_ENV"}
        for names, wrong in _contradictions(settings):
            # What could not be read has its default here, and that contradicts nobody.
            if unread.isdisjoint(KNOWN[name].name for name in names):
                problems.append(_problem(KNOWN[names[0]], wrong, where))
        return settings, tuple(problems)


KNOWN: Mapping[str, Setting] = {one.name: one.metadata["setting"] for one in fields(Settings) if one.metadata}
"""Every setting by the name of its attribute, in the order in which they are explained."""

NAMES = frozenset(one.name for one in KNOWN.values())
"""The names of all variables that `Settings` reads."""


def _problem(setting: Setting, wrong: str, where: Mapping[str, str]) -> Problem:
    return Problem(setting.name, wrong, setting.purpose, setting.example, where.get(setting.name, ""))


def _quoted(setting: Setting, given: str, error: ValueError) -> str:
    return f"is {given.strip()[:40]!r} but {error}" if may_show(setting.name) else str(error)


def _unknown(environ: Mapping[str, str], where: Mapping[str, str]) -> list[Problem]:
    ours = sorted(name.removeprefix(_OURS) for name in NAMES if name.startswith(_OURS))
    problems = []
    for name in sorted(environ):
        if name.startswith(_OURS) and name not in NAMES:
            near = parse.nearest(name.removeprefix(_OURS), ours)
            wrong = f"is no setting; did you mean {_OURS}{near}?" if near else "is no setting of holdfast"
            problems.append(Problem(name, wrong, source=where.get(name, "")))
    return problems


def _contradictions(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    """What only settings together can get wrong: the attributes, the one to change first."""
    found: list[tuple[tuple[str, ...], str]] = []
    if settings.db_pool_min > settings.db_pool_max:
        wrong = f"is {settings.db_pool_min}, more than DB_POOL_MAX ({settings.db_pool_max})"
        found.append((("db_pool_min", "db_pool_max"), wrong))
    if settings.probe_port == settings.port:
        found.append((("probe_port", "port"), f"is {settings.port}, the same as PORT"))
    if settings.production:
        found.extend(_weak_secrets(settings))
    return found


def _weak_secrets(settings: Settings) -> list[tuple[tuple[str, ...], str]]:
    judged = {"diagnostics_token": settings.diagnostics_token, "journal_key": settings.journal_key}
    # JWT_SECRET may be the application's alone: it is judged only where it would open our doors.
    if settings.enable_diagnostics or (settings.enable_diagnostics is None and settings.diagnostics_token):
        judged["jwt_secret"] = settings.jwt_secret
    weak = {name: parse.weakness(secret) for name, secret in judged.items() if secret is not None}
    others = {"journal_key": ("app_env",)}
    return [
        ((name, *others.get(name, ("enable_diagnostics", "app_env"))), f"{wrong} in production")
        for name, wrong in weak.items()
        if wrong is not None
    ]
