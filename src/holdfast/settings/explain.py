"""What a settings class of the application refused, by the names of the variables.

The libraries name fields and print values; people set variables, and values may be secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from holdfast.faults.redact import redact_text
from holdfast.settings.report import Misconfigured, Problem, may_show

_FREE_WORDS = frozenset({"value_error", "assertion_error"})  # messages that the application wrote
_A_SECRET = "<32 or more random characters>"  # noqa: S105 - what stands in place of one

Purposes = Mapping[str, tuple[str, str]]
"""What a variable is for and an example of it, by its name: what `.env.example` tells."""


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    purpose: str
    example: str
    secret: bool


def explain_validation_error(
    error: BaseException, purposes: Purposes | None = None, app_env: str = ""
) -> Misconfigured | None:
    """The report of *error* when a settings class raised it (or caused it), else None."""
    link: BaseException | None = error
    for _ in range(10):  # a chain may be a ring
        if isinstance(link, ValidationError) or _could_not_read(link):
            break
        if link is None:
            return None
        link = link.__cause__ or link.__context__
    cls = _settings_class(link) if link is not None else None
    if cls is None:
        return None
    return Misconfigured(problems_of(link, cls, purposes or {}), app_env)


def _could_not_read(error: BaseException | None) -> bool:
    # SettingsError has moved between the library's modules, and 2.0 does not export it.
    return isinstance(error, ValueError) and type(error).__module__.startswith("pydantic_settings")


def problems_of(
    error: BaseException | None, cls: type[BaseSettings], purposes: Purposes
) -> tuple[Problem, ...]:
    """Every variable that *error*, raised by *cls*, is about; no value of any."""
    if isinstance(error, ValidationError):
        found = error.errors(include_url=False, include_context=False)
        return tuple(problem for one in found for problem in _explain(dict(one), cls, purposes))
    return tuple(_unreadable(str(error), cls, purposes))


def _settings_class(error: BaseException) -> type[BaseSettings] | None:
    """The class whose construction raised *error*: its frames hold the half-made instance."""
    trace = error.__traceback__
    while trace is not None:
        for name in ("__pydantic_self__", "self"):
            held = trace.tb_frame.f_locals.get(name)
            if isinstance(held, BaseSettings):
                return type(held)
        trace = trace.tb_next
    return None


def _explain(found: dict[str, Any], cls: type[BaseSettings], purposes: Purposes) -> Iterator[Problem]:
    first, *rest = found["loc"] or ("",)
    field_name, field = _field(cls, str(first))
    if field is None:
        name = str(first).upper() or f"{cls.__name__} as a whole"
        variable = _Variable(name, *purposes.get(name, ("", "")), not may_show(name) or not first)
        yield _problem(variable, _wrong(found, variable.secret), [])
        return
    delimiter = cls.model_config.get("env_nested_delimiter")
    nested = _model(field)
    if found["type"] == "missing" and not rest and nested is not None and delimiter:
        for inner, of in nested.model_fields.items():
            if of.is_required():
                yield _problem(_variable(cls, field_name, field, purposes, [inner]), "is missing", [])
        return
    variable = _variable(cls, field_name, field, purposes, rest if delimiter else [])
    yield _problem(variable, _wrong(found, variable.secret), [] if delimiter else rest)


def _problem(variable: _Variable, wrong: str, inside: list[Any]) -> Problem:
    where = f" at {'.'.join(map(str, inside))}" if inside else ""
    return Problem(variable.name, wrong + where, variable.purpose, variable.example)


def _unreadable(text: str, cls: type[BaseSettings], purposes: Purposes) -> Iterator[Problem]:
    """Of the library's own refusal only the quoted name of the field is used."""
    for name, field in cls.model_fields.items():
        if f'"{name}"' in text:
            variable = _variable(cls, name, field, purposes, [])
            yield _problem(variable, "is not JSON, as a list or a group of values must be", [])
            return
    yield Problem(f"{cls.__name__} as a whole", "could not be read from its sources")


def _wrong(found: dict[str, Any], secret: bool) -> str:
    kind, words = found["type"], str(found["msg"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not declared by the settings class"
    if kind.startswith("holdfast_"):
        return words
    if kind in _FREE_WORDS and secret:
        return "is refused by the settings class"
    given = found.get("input")
    if isinstance(given, str) and given.strip():
        words = words.replace(given, "***")
    words = redact_text(words.removeprefix("Value error, ").removeprefix("Assertion failed, "))
    return words.removeprefix("Input ") if words.startswith("Input ") else f"is refused: {words}"


def _field(cls: type[BaseSettings], place: str) -> tuple[str, FieldInfo | None]:
    for name, field in cls.model_fields.items():
        if place.lower() in {name.lower(), *(one.lower() for one in _aliases(field))}:
            return name, field
    return place, None


def _aliases(field: FieldInfo) -> list[str]:
    alias = field.validation_alias or field.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    found = []
    for one in choices:
        if isinstance(one, AliasPath):
            found.append(str(one.path[0]))
        elif one is not None:
            found.append(one)
    return found


def _variable(
    cls: type[BaseSettings], name: str, field: FieldInfo, purposes: Purposes, inner: list[Any]
) -> _Variable:
    config = cls.model_config
    names = _aliases(field) or [f"{config.get('env_prefix', '')}{name}"]
    delimiter = config.get("env_nested_delimiter") or "__"
    shown = [delimiter.join((one, *map(str, inner))) for one in names]
    if not config.get("case_sensitive"):
        shown = [one.upper() for one in shown]
    told = next((purposes[one] for one in shown if one in purposes), ("", ""))
    innermost = _inner(field, inner)
    secret = _is_secret(innermost) or not may_show(shown[0])
    example = _example(innermost) or told[1] or (_A_SECRET if _is_secret(innermost) else "")
    return _Variable(" or ".join(shown), innermost.description or told[0], example, secret)


def _inner(field: FieldInfo, path: list[Any]) -> FieldInfo:
    for step in path:
        model = _model(field)
        if model is None or step not in model.model_fields:
            break
        field = model.model_fields[step]
    return field


def _model(field: FieldInfo) -> type[BaseModel] | None:
    for one in (field.annotation, *get_args(field.annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _is_secret(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(isinstance(one, type) and issubclass(one, SecretStr | SecretBytes) for one in kinds)


def _example(field: FieldInfo) -> str:
    return str(field.examples[0]) if field.examples and not _is_secret(field) else ""
