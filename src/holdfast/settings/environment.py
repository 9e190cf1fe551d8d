"""The environment: what the process was given, over `.env.{APP_ENV}`, over `.env`.

Reading changes nothing; `export` is the one function that does, on the mapping it is handed.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.settings.envfile import Line, read_lines, resolved
from holdfast.settings.report import Problem
from holdfast.settings.settings import APP_ENVS

PROCESS = "process environment"
ASSUMED: ContextVar[str] = ContextVar("ASSUMED", default="production")
"""The environment's name where nobody gave one, while the application's class is judged without it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Every variable with where it came from. `values` always hold `APP_ENV`.

    `problems` are what no setting can tell: files that could not be read. `assumed` says that
    nobody named the environment, so the command's default holds and is to be announced.
    """

    app_env: str
    assumed: bool
    values: Mapping[str, str] = field(repr=False)
    sources: Mapping[str, str] = field(repr=False)
    files: tuple[Path, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def announcement(self) -> str:
        """The line that tells which environment this is, and from where; no line end."""
        files = ", ".join(one.name for one in self.files) or "no .env file"
        if self.assumed:
            return f"environment: {self.app_env} (assumed: APP_ENV is not set; {files})"
        return f"environment: {self.app_env} ({files})"

    @property
    def given(self) -> Mapping[str, str]:
        """The variables that somebody gave: not `APP_ENV` where it is only assumed."""
        return {
            name: value for name, value in self.values.items() if not (self.assumed and name == "APP_ENV")
        }

    def override(self, values: Mapping[str, str], source: str) -> Environment:
        """This environment with *values* over everything else, as command line options are."""
        return replace(
            self,
            values={**self.values, **values},
            sources={**self.sources, **dict.fromkeys(values, source)},
        )


@dataclass(slots=True)
class _Reading:
    """What is known while the files are read, lowest first."""

    process: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path) -> dict[str, str]:
        """Lay the file at *path* over what is known; returns what it holds."""
        return self.lay(path, self.lines(path))

    def lines(self, path: Path) -> list[Line]:
        """What stands in the file at *path*; a file that cannot be read is a problem."""
        try:
            return read_lines(path)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.problems.append(Problem(path.name, f"cannot be read: {why}"))
            return []

    def lay(self, path: Path, lines: list[Line]) -> dict[str, str]:
        """Lay *lines*, read from *path*, over what is known; returns what they hold."""
        held: dict[str, str] = {}
        for line in lines:
            if not line.name or "\0" in line.name + (line.value or ""):
                wrong = "is not NAME=value (a value with spaces or # wants quotes)"
                self.problems.append(Problem(f"{path.name}:{line.number}", wrong))
            elif line.value is not None:
                held[line.name] = resolved(line.value, {**self.values, **held, **self.process})
        self.files.append(path)
        self.values.update(held)
        self.sources.update(dict.fromkeys(held, path.name))
        return held


def load(
    folder: Path, process: Mapping[str, str], *, default: str, env_file: Path | None = None
) -> Environment:
    """Read the files of *folder*, and *env_file* over them; *process* wins over all.

    *default* is the environment's name where `APP_ENV` is not set. A name that is none of the
    known four is left in `values` for `Settings` to refuse, and no file is read for it.
    """
    reading = _Reading(process)
    common = reading.add(folder / ".env") if _is_file(folder / ".env") else {}
    explicit = _explicit(reading, env_file)
    chosen = {line.name: line.value or "" for line in explicit}
    given = next((one["APP_ENV"] for one in (process, chosen, common) if one.get("APP_ENV", "").strip()), "")
    app_env = _known(given) or default
    own = folder / f".env.{app_env}"
    if (not given.strip() or _known(given)) and _is_file(own):
        _agree(reading.add(own), app_env, own.name, reading.problems)
    if env_file is not None and explicit:
        reading.lay(env_file, explicit)
    values = {**reading.values, **process}
    sources = {**reading.sources, **dict.fromkeys(process, PROCESS)}
    values["APP_ENV"] = given if given.strip() and not _known(given) else app_env
    files, problems = tuple(reading.files), tuple(reading.problems)
    return Environment(app_env, not given.strip(), values, sources, files, problems)


def export(environment: Environment, into: MutableMapping[str, str]) -> None:
    """Write all variables to *into*, usually `os.environ`, where the application will look."""
    into.update(environment.values)


def _explicit(reading: _Reading, env_file: Path | None) -> list[Line]:
    # Read once, though it is laid on top of a file that only it may name: it can be a pipe.
    if env_file is None:
        return []
    if _is_file(env_file):
        return reading.lines(env_file)
    wrong = f"names {env_file}, and there is no such file"
    reading.problems.append(Problem("--env-file", wrong, "more variables", ".env.local"))
    return []


def _agree(held: Mapping[str, str], app_env: str, file: str, problems: list[Problem]) -> None:
    other = held.get("APP_ENV", "").strip()
    if other and other.lower() != app_env:
        wrong = f"is {other[:40]!r} in {file}, which is read because it is {app_env!r}"
        problems.append(Problem("APP_ENV", wrong, "which environment this is", app_env, file))


def _known(given: str) -> str | None:
    word = given.strip().lower()
    return word if word in APP_ENVS else None


def _is_file(path: Path) -> bool:
    # A folder of that name is a virtual environment; a pipe is how password keepers hand out a file.
    return path.is_file() or path.is_fifo()
