"""What a settings class of the application refused, by the names of the variables.

The libraries name fields and print values; people set variables, and values may be secrets.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import AliasChoices, AliasPath, BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ErrorType
from pydantic_settings import BaseSettings

from holdfast.faults.redact import redact_text
from holdfast.settings.remaking import frames, remade
from holdfast.settings.report import Misconfigured, Problem, is_secret, may_show
from holdfast.settings.words import masked, passwords, without_traces

_WRITTEN = frozenset({"value_error", "assertion_error"})  # messages that the application wrote
_KINDS = frozenset(get_args(ErrorType)) - _WRITTEN  # those that the library wrote
_QUOTING = frozenset({"uuid_parsing", "json_invalid"})  # its words that quote a sign or tell a length
_LISTING = frozenset({"literal_error", "enum"})  # its words list what the class allows, and quote nothing
_REFUSED = "is refused by the settings class"
_DEEPEST = 8  # groups in groups that are looked through for secrets
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
    if cls is None or link is None:
        return None
    return Misconfigured(problems_of(link, cls, purposes or {}), app_env)


def _could_not_read(error: BaseException | None) -> bool:
    # SettingsError has moved between the library's modules, and 2.0 does not export it.
    return isinstance(error, ValueError) and type(error).__module__.startswith("pydantic_settings")


def problems_of(error: BaseException, cls: type[BaseSettings], purposes: Purposes) -> tuple[Problem, ...]:
    """Every variable that *error*, raised by *cls*, is about; no value of a secret."""
    if isinstance(error, ValidationError):
        return tuple(_refusals(error, cls, purposes))
    again = remade(error, cls)
    if again is None:
        return tuple(_unreadable(str(error), cls, purposes))
    lines = [_not_json(cls, name, purposes) for name in again.unreadable if name in cls.model_fields]
    if isinstance(again.error, ValidationError):
        # Their absence was ours, and what the class says as a whole may follow from it.
        follows = {"", *again.unreadable}
        lines += _refusals(again.error, cls, purposes, follows)
    return tuple(lines)


def _refusals(
    error: ValidationError, cls: type[BaseSettings], purposes: Purposes, follows: Container[str] = ()
) -> Iterator[Problem]:
    secrets = tuple(_secrets(error, cls))
    for found in error.errors(include_url=False):
        place = str(found["loc"][0]) if found["loc"] else ""
        if _field(cls, place)[0] not in follows:
            yield from _explain(dict(found), cls, purposes, secrets)


def _secrets(error: ValidationError, cls: type[BaseSettings]) -> Iterator[str]:
    """The secrets among the values that *cls* was given, from wherever it read them."""
    given: Any = dict(os.environ)
    for frame in frames(error):
        held = frame.f_locals
        made = held.get("self", held.get("__pydantic_self__"))
        if isinstance(made, cls) and isinstance(held.get("data"), dict):
            given = held["data"]
    for name, value in given.items():
        field_name, field = _field(cls, str(name))
        hidden = field is not None and _variable(cls, field_name, field, {}, []).secret
        yield from _secret_leaves(str(name), value, hidden=hidden, deep=0)


def _secret_leaves(name: str, value: Any, *, hidden: bool, deep: int) -> Iterator[str]:
    hidden = hidden or is_secret(name)
    if isinstance(value, SecretStr | SecretBytes):
        value, hidden = value.get_secret_value(), True
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        yield from passwords(value)
        if hidden or not may_show(name):
            yield value
    elif isinstance(value, Mapping) and deep < _DEEPEST:
        for inner, one in value.items():
            yield from _secret_leaves(str(inner), one, hidden=hidden, deep=deep + 1)
    elif isinstance(value, list | tuple | set) and deep < _DEEPEST:
        for one in value:
            yield from _secret_leaves(name, one, hidden=hidden, deep=deep + 1)
    elif hidden and isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _settings_class(error: BaseException) -> type[BaseSettings] | None:
    """The class whose construction raised *error*: its frames hold the half-made instance."""
    for frame in frames(error):
        for name in ("__pydantic_self__", "self"):
            held = frame.f_locals.get(name)
            if isinstance(held, BaseSettings):
                return type(held)
    return None


def _explain(
    found: dict[str, Any], cls: type[BaseSettings], purposes: Purposes, secrets: tuple[str, ...]
) -> Iterator[Problem]:
    first, *rest = found["loc"] or ("",)
    field_name, field = _field(cls, str(first))
    if field is None:
        name = str(first).upper() or f"{cls.__name__} as a whole"
        variable = _Variable(name, *purposes.get(name, ("", "")), bool(first) and not may_show(name))
        yield _problem(variable, _wrong(found, variable.secret, secrets), [])
        return
    delimiter = cls.model_config.get("env_nested_delimiter")
    nested = _model(field)
    if found["type"] == "missing" and not rest and nested is not None and delimiter:
        for inner, of in nested.model_fields.items():
            if of.is_required():
                yield _problem(_variable(cls, field_name, field, purposes, [inner]), "is missing", [])
        return
    variable = _variable(cls, field_name, field, purposes, rest if delimiter else [])
    yield _problem(variable, _wrong(found, variable.secret, secrets), [] if delimiter else rest)


def _problem(variable: _Variable, wrong: str, inside: list[Any]) -> Problem:
    where = f" at {'.'.join(map(str, inside))}" if inside else ""
    return Problem(variable.name, wrong + where, variable.purpose, variable.example)


def _unreadable(text: str, cls: type[BaseSettings], purposes: Purposes) -> Iterator[Problem]:
    """Of the library's own refusal only the quoted name of the field is used."""
    for name in cls.model_fields:
        if f'"{name}"' in text:
            yield _not_json(cls, name, purposes)
            return
    yield Problem(f"{cls.__name__} as a whole", "could not be read from its sources")


def _not_json(cls: type[BaseSettings], name: str, purposes: Purposes) -> Problem:
    field, delimiter = cls.model_fields[name], cls.model_config.get("env_nested_delimiter")
    variable = _variable(cls, name, field, purposes, [])
    parts = f"or one of {variable.name}{delimiter}… " if delimiter and _model(field) else ""
    return _problem(variable, f"{parts}is not JSON, as a list or a group of values must be", [])


def _wrong(found: dict[str, Any], secret: bool, secrets: tuple[str, ...]) -> str:
    kind, words = found["type"], str(found["msg"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not declared by the settings class"
    if kind.startswith("holdfast_"):
        return words
    given = found.get("input")
    refused = (given,) if isinstance(given, str) else ()
    words = words.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind in _KINDS:
        if secret and kind in _QUOTING:
            return _REFUSED
        listed = kind in _LISTING and not secret  # `debug` is refused where `DEBUG` is what is wanted
        words = masked(words, secrets if listed else (*refused, *secrets))
    else:
        literal = _is_literal(found, words)
        if secret and not literal:
            return _REFUSED
        words = masked(words, refused)
        words = masked(words, secrets) if literal else without_traces(words, secrets)
    words = redact_text(words)
    return words.removeprefix("Input ") if words.startswith("Input ") else f"is refused: {words}"


def _is_literal(found: dict[str, Any], words: str) -> bool:
    """Whether *words* stand in the application's code as they are, and so were made from no value."""
    error = found.get("ctx", {}).get("error")
    return isinstance(error, Exception) and any(words in one.f_code.co_consts for one in frames(error))


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
