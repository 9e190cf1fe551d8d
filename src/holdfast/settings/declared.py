"""What the application declares that it needs: a settings class, or else its `.env.example`."""

from __future__ import annotations

import importlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holdfast.policy.routes import Routes
from holdfast.settings import parse
from holdfast.settings.envfile import Line, read_lines
from holdfast.settings.environment import ASSUMED
from holdfast.settings.report import Problem
from holdfast.settings.settings import Settings

TABLE = "[tool.holdfast]"
_KEYS = ("settings", "journal", "require_key")
_CLASS = Problem(f"{TABLE} settings", "", "the application's settings class", "shop.config:Settings")


@dataclass(frozen=True, slots=True)
class Declaration:
    """Where the application says what it needs: a class, its name, or an example file's lines;
    and the routes it names, by the attribute of `Settings` they belong to.

    `unreadable` is what is wrong with the example, of which a class makes a mere explanation.
    """

    settings: type | str | None = None
    example: tuple[Line, ...] = ()
    problems: tuple[Problem, ...] = ()
    unreadable: tuple[Problem, ...] = ()
    routes: Mapping[str, Routes] = field(default_factory=dict)

    def completed(self, settings: Settings) -> Settings:
        """*settings*, with the routes declared here beside those of the environment."""
        both = {
            name: Routes((*getattr(settings, name).names, *more.names)) for name, more in self.routes.items()
        }
        return replace(settings, **both)  # type: ignore[arg-type]


def declaration(folder: Path, settings: type | None = None, *, example: Path | None = None) -> Declaration:
    """What *folder* declares; *settings*, a class given in code, wins over pyproject.toml.

    `.env.example` is read from the folder *example* when that is another one.
    """
    lines, unreadable = _example((example or folder) / ".env.example")
    table, problems = tool_table(folder)
    routes = _routes(table, problems)
    if settings is not None:
        return Declaration(settings, lines, tuple(problems), unreadable, routes)
    named = table.get("settings")
    if named is not None and not isinstance(named, str):
        problems.append(_class_problem("must be text such as shop.config:Settings"))
        named = None
    return Declaration(named, lines, tuple(problems), unreadable, routes)


def _routes(table: dict[str, Any], problems: list[Problem]) -> dict[str, Routes]:
    found = {}
    for key in ("journal", "require_key"):
        given = table.get(key, [])
        try:
            if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
                raise ValueError('must be a list of routes, such as ["POST /orders"]')
            found[key] = Routes.written(given)
        except ValueError as error:
            problems.append(Problem(f"{TABLE} {key}", str(error), source="pyproject.toml"))
    return found


def tool_table(folder: Path) -> tuple[dict[str, Any], list[Problem]]:
    """`[tool.holdfast]` of the nearest pyproject.toml at or above *folder*, and what is wrong there."""
    file = next((one for up in (folder, *folder.parents) if (one := up / "pyproject.toml").is_file()), None)
    if file is None:
        return {}, []
    try:
        table: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {}, [Problem("pyproject.toml", f"cannot be read: {error}")]
    for name, heading in (("tool", "[tool]"), ("holdfast", TABLE)):
        table = table.get(name, {})
        if not isinstance(table, dict):
            wrong = f"must be a table, and {name} is set to a single value or a list"
            return {}, [Problem(heading, wrong, source="pyproject.toml")]
    problems = []
    for key in table:
        if key not in _KEYS:
            near = parse.nearest(key, _KEYS)
            hint = f"; did you mean {near}?" if near else ""
            problems.append(
                Problem(f"{TABLE} {key}", f"is no setting of holdfast{hint}", source="pyproject.toml")
            )
    return table, problems


def missing(declared: Declaration, environ: Mapping[str, str], app_env: str) -> tuple[Problem, ...]:
    """Everything that *declared* needs and *environ*, what somebody gave, lacks.

    A class is imported and made, which reads `os.environ`: export the environment before.
    """
    if declared.settings is None:
        absent = (_absent(line, environ) for line in declared.example if not _is_given(line, environ))
        return (*declared.unreadable, *absent)
    cls = declared.settings
    if isinstance(cls, str):
        found = _imported(cls, declared, app_env)
        if isinstance(found, tuple):
            return found
        cls = found
    before = ASSUMED.set(app_env)
    try:
        return _made(cls, declared, app_env)
    finally:
        ASSUMED.reset(before)


def _example(file: Path) -> tuple[tuple[Line, ...], tuple[Problem, ...]]:
    if not file.is_file():
        return (), ()
    try:
        lines = read_lines(file)
    except (OSError, UnicodeDecodeError) as error:
        return (), (Problem(file.name, f"cannot be read: {type(error).__name__}"),)
    wrong = tuple(
        Problem(f"{file.name}:{line.number}", "is not NAME=value") for line in lines if not line.name
    )
    return tuple(line for line in lines if line.name), wrong


def _is_given(line: Line, environ: Mapping[str, str]) -> bool:
    return bool(environ.get(line.name, "").strip())


def _absent(line: Line, environ: Mapping[str, str]) -> Problem:
    from holdfast.faults.redact import redact_text

    wrong = "is empty" if line.name in environ else "is missing"
    # An example file may hold a real password, forgotten there.
    return Problem(line.name, f"{wrong}; .env.example names it", line.comment, redact_text(line.value or ""))


def _class_problem(wrong: str) -> Problem:
    return Problem(_CLASS.name, wrong, _CLASS.purpose, _CLASS.example, "pyproject.toml")


def _imported(target: str, declared: Declaration, app_env: str) -> type | tuple[Problem, ...]:
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        return (_class_problem(f"is {target!r} but must be module:Class"),)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        wrong = f"is {target!r}, and there is no module {error.name}"
        return (_class_problem(wrong),)
    except Exception as error:  # noqa: BLE001 - the application's module may raise anything
        return _refused(error, declared, app_env) or (
            _class_problem(f"importing {module_name} raised {_told(error)}"),
        )
    half_made = getattr(found.__spec__, "_initializing", False)
    for part in attribute.split("."):
        names = dir(found)
        found = getattr(found, part, None)
        if found is None and half_made:
            return ()  # it is below the line that asks, and the application makes it itself
        if found is None:
            near = parse.nearest(part, (one for one in names if not one.startswith("_")))
            hint = f"; did you mean {near}?" if near else ""
            return (_class_problem(f"is {target!r}, and {module_name} has no {part}{hint}"),)
    return found if isinstance(found, type) else (_class_problem(f"is {target!r}, which is no class"),)


def _told(error: Exception) -> str:
    from holdfast.faults.redact import redact_text
    from holdfast.settings.words import secrets_in, without_traces

    words = without_traces(str(error), tuple(secrets_in(os.environ)))
    return f"{type(error).__name__}: {redact_text(words)}"


def _made(cls: type, declared: Declaration, app_env: str) -> tuple[Problem, ...]:
    try:
        cls()
    except Exception as error:  # noqa: BLE001 - validators of the application may raise anything
        return _refused(error, declared, app_env) or (Problem(cls.__name__, f"raised {_told(error)}"),)
    return ()


def _refused(error: Exception, declared: Declaration, app_env: str) -> tuple[Problem, ...]:
    # The libraries that explain are imported already when the error is theirs.
    from holdfast.settings.explain import explain_validation_error

    report = explain_validation_error(error, _purposes(declared.example), app_env)
    return report.problems if report is not None else ()


def purposes(folder: Path) -> dict[str, tuple[str, str]]:
    """What each variable of `.env.example` is for, and its example; empty without such a file."""
    return _purposes(_example(folder / ".env.example")[0])


def _purposes(lines: tuple[Line, ...]) -> dict[str, tuple[str, str]]:
    from holdfast.faults.redact import redact_text

    return {line.name: (line.comment, redact_text(line.value or "")) for line in lines}
