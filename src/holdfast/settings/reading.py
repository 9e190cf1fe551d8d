"""The phase "environment" as a whole: files, settings, declaration; all that is wrong at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from holdfast.settings.declared import declaration, missing
from holdfast.settings.environment import PROCESS, Environment, export, load, own_files
from holdfast.settings.parse import APP_ENVS
from holdfast.settings.report import Misconfigured, Problem
from holdfast.settings.settings import Settings
from holdfast.settings.shared import COMMAND_LINE

_ENV_FILES = (".env", *(f".env.{one}" for one in APP_ENVS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a command asks of the environment.

    *folder* is where the project's files are, *app_dir* where its modules are, if elsewhere.
    *default* is the environment's name where nobody gave one; *options* are settings of ours that were
    given on the command line, by their variables; *settings* is the application's class when it was
    handed over in code.
    """

    folder: Path
    default: str
    env_file: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    settings: type | None = None
    app_dir: Path | None = None

    @property
    def modules(self) -> Path:
        """The folder that the application's settings class is imported from."""
        return self.app_dir or self.folder

    def holder(self, *names: str) -> Path:
        """Whose files of these names count: the project's, or those beside the modules when it has none."""
        beside = any((self.modules / name).exists() for name in names)
        return (
            self.modules
            if beside and not any((self.folder / name).exists() for name in names)
            else self.folder
        )


def read_environment(
    wanted: Wanted,
    environ: MutableMapping[str, str],
    before_import: Callable[[Settings], None] = lambda _: None,
) -> tuple[Environment, Settings]:
    """Load, judge and export to *environ*, before the application is imported.

    *before_import* is told our settings, right or wrong, before the application's class is imported:
    with it may come the application itself, and its engines.
    Options are said to us alone: the application does not see them, though one for a `PORT` that
    `.env.example` names is what was asked for.
    Raises `Misconfigured` with every problem of files, settings and declaration; *environ* has
    been written then as well, for the application's own settings class is made from it.
    """
    own = own_files(environ.get("APP_ENV", "").strip())
    found = load(wanted.holder(*_ENV_FILES, *own), environ, default=wanted.default, env_file=wanted.env_file)
    environment = found.override(wanted.options, COMMAND_LINE)
    settings, problems = Settings.examined(environment.values, environment.app_env, environment.sources)
    example = wanted.holder(".env.example")
    # Looked for upwards too, and the project is usually above its modules.
    project = wanted.folder if (wanted.folder / "pyproject.toml").is_file() else wanted.modules
    declared = declaration(project, wanted.settings, example=example)
    export(found, environ)
    if isinstance(declared.settings, str) and str(wanted.modules) not in sys.path:
        sys.path.insert(0, str(wanted.modules))
    before_import(settings)
    port = {name: value for name, value in wanted.options.items() if name == "PORT"}
    lacking = missing(declared, {**port, **found.values}, found.app_env)
    _refuse(environment, (*problems, *declared.problems), lacking)
    return environment, declared.completed(settings)


def read_in_code(
    folder: Path,
    process: Mapping[str, str],
    settings: type | None = None,
    before_import: Callable[[Settings], None] = lambda _: None,
) -> Settings:
    """The settings of an application that another server imports: the same files, in the same order.

    Nothing is written to the environment, for which files the application reads is its own choice;
    and `.env.example` explains, but requires nothing: tests and scripts import the application too.
    Raises `Misconfigured` as `read_environment` does.
    """
    environment = load(folder, process, default="production")
    ours, problems = Settings.examined(
        environment.values, environment.app_env, environment.sources, listens=False
    )
    declared = declaration(folder, settings)
    before_import(ours)
    needs = declared.settings is not None
    lacking = missing(declared, environment.values, environment.app_env) if needs else ()
    unseen = tuple(_unseen(one, environment) for one in lacking)
    _refuse(environment, (*problems, *declared.problems), unseen)
    return declared.completed(ours)


def _unseen(lacking: Problem, environment: Environment) -> Problem:
    """*lacking*, with a word on the file that has the variable and that the class does not read."""
    file = environment.sources.get(lacking.name, PROCESS)
    if lacking.wrong != "is missing" or file == PROCESS:
        return lacking
    return replace(lacking, wrong=f"is missing; {file} has it, which the class reads with env_file={file!r}")


def _refuse(environment: Environment, problems: tuple[Problem, ...], lacking: tuple[Problem, ...]) -> None:
    told = {one.name for one in problems}
    everything = (*environment.problems, *problems, *(one for one in lacking if one.name not in told))
    if everything:
        own = "" if any(one.name == "APP_ENV" for one in everything) else environment.own
        raise Misconfigured(everything, own)  # the file of an environment that there is not helps nobody
