"""The environment: what the process was given, over `.env.{APP_ENV}`, over `.env`.

Reading changes nothing; `export` is the one function that does, on the mapping it is handed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.settings.envfile import Line, read_lines, resolved
from holdfast.settings.parse import app_env as read_app_env
from holdfast.settings.report import Problem

PROCESS = "process environment"
_FILE_NAME = re.compile(r"[\w-][\w.-]{0,63}")  # what can only be a part of one
ASSUMED: ContextVar[str] = ContextVar("ASSUMED", default="production")
"""The environment's name where nobody gave one, while the application's class is judged without it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Every variable with where it came from: what somebody gave, as it was given.

    `app_env` is which of our environments it is; `own` what its own file is called by, there or not:
    `.env.{own}`. `assumed` says that nobody named one, so the command's default holds and is to be
    announced; it is not among the `values`, for an application may know other names than ours.
    `problems` are what no setting can tell: files that could not be read.
    """

    app_env: str
    own: str
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
        given = self.values["APP_ENV"].strip()[:40]
        other = f"APP_ENV is {given!r}; " if given.lower() != self.app_env else ""
        return f"environment: {self.app_env} ({other}{files})"

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

    *default* is the environment's name where `APP_ENV` is not set. A usual word for one of the four
    (`prod`) stands for it, and its file is `.env.prod` or else `.env.production`. A word that nobody
    can guess is production, with no file but that of the word's own.
    """
    reading = _Reading(process)
    common = reading.add(folder / ".env") if _is_file(folder / ".env") else {}
    explicit = _explicit(reading, env_file)
    chosen = {line.name: line.value or "" for line in explicit}
    given = next((one["APP_ENV"] for one in (process, chosen, common) if one.get("APP_ENV", "").strip()), "")
    word = given.strip() or default
    own = next((one for name in own_files(word) if _is_file(one := folder / name)), None)
    if own is not None:
        _agree(reading.add(own), word, own.name, reading.problems)
    if env_file is not None and explicit:
        reading.lay(env_file, explicit)
    values = {**reading.values, **process}
    sources = {**reading.sources, **dict.fromkeys(process, PROCESS)}
    if given:
        values["APP_ENV"] = given
    called = (own.name if own is not None else next(reversed(own_files(word)), "")).removeprefix(".env.")
    files, problems = tuple(reading.files), tuple(reading.problems)
    app_env = known(word) or "production"
    return Environment(app_env, called, not given, values, sources, files, problems)


def own_files(word: str) -> tuple[str, ...]:
    """The names of the one file that is an environment's own, in the order in which they are tried: by the
    *word* that was given, and by our name for it."""
    words = dict.fromkeys((word, word.lower(), known(word) or ""))
    return tuple(f".env.{one}" for one in words if _FILE_NAME.fullmatch(one))


def known(word: str) -> str | None:
    """Which of our environments *word* names; None for a word that nobody can guess."""
    try:
        return read_app_env(word)
    except ValueError:
        return None


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


def _agree(held: Mapping[str, str], word: str, file: str, problems: list[Problem]) -> None:
    other = held.get("APP_ENV", "").strip()
    if other and (known(other) or other.lower()) != (known(word) or word.lower()):
        wrong = f"is {other[:40]!r} in {file}, which is read because it is {word[:40]!r}"
        problems.append(Problem("APP_ENV", wrong, "which environment this is", word[:40], file))


def _is_file(path: Path) -> bool:
    # A folder of that name is a virtual environment; a pipe is how password keepers hand out a file.
    return path.is_file() or path.is_fifo()
