"""A settings class made once more, without the values that could not be read, so that the rest is judged.

pydantic-settings gives up at the first list or group that is no JSON, before anything is validated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pydantic_settings import BaseSettings

_NOT_AGAIN = frozenset({"_build_sources"})  # they were made by the first try, and would give up again


@dataclass(frozen=True, slots=True)
class Remade:
    """The fields whose values could not be read, and what the class said of all others."""

    unreadable: tuple[str, ...]
    error: Exception | None


def remade(error: BaseException, cls: type[BaseSettings]) -> Remade | None:
    """What *cls* says with the arguments of the call that raised *error*; None when that cannot be known."""
    unreadable: dict[str, None] = {}

    def lenient(source: Any) -> Any:
        prepare = getattr(source, "prepare_field_value", None)
        if prepare is None:
            return source

        def prepared(field_name: str, *rest: Any, **more: Any) -> Any:
            try:
                return prepare(field_name, *rest, **more)
            except ValueError:
                unreadable[field_name] = None
                return None  # as a variable that is not there

        source.prepare_field_value = prepared
        return source

    def customised(own: type[Any], /, settings_cls: Any, **sources: Any) -> tuple[Any, ...]:
        found = super(again, own).settings_customise_sources(settings_cls, **sources)
        return tuple(lenient(one) for one in found)

    metaclass: Any = type(cls)
    try:
        body = {
            "__module__": cls.__module__,
            "settings_customise_sources": classmethod(customised),
        }
        again: Any = metaclass(cls.__name__, (cls,), body)
        # Not the class's own __init__: its work is done already, and is not to be done twice.
        BaseSettings.__init__(cls.__new__(again), **_arguments(error))
    except Exception as raised:  # noqa: BLE001 - the application's sources and validators raise anything
        return Remade(tuple(unreadable), raised) if unreadable else None
    return Remade(tuple(unreadable), None) if unreadable else None


def frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that *error* went through, the outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _arguments(error: BaseException) -> dict[str, Any]:
    code = BaseSettings.__init__.__code__
    held = next((one.f_locals for one in frames(error) if one.f_code is code), None)
    if held is None:
        return {}
    named = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    values = held.get("values", {})
    return {**{name: held[name] for name in named if name in held and name not in _NOT_AGAIN}, **values}
