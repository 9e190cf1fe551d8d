"""From `module:app` to the application object; what is in the way is named with the next step."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.runtime.mishap import Mishap, explain
from holdfast.runtime.packages import base_of, from_folder
from holdfast.settings.failure import Exit, StartFailure
from holdfast.settings.parse import nearest

_PHASE = "application"
_PASSED_OVER = frozenset(
    {"tests", "test", "node_modules", "venv", "site-packages", "build", "dist", "__pycache__"}
)
_DEPTH = 3
_MOST_LISTED = 8
_MOST_READ = 300


@dataclass(frozen=True, slots=True)
class _Target:
    """What the user typed, taken apart."""

    module: str
    attribute: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"

    def mishap(self, doing: str) -> Mishap:
        """What went wrong with it while *doing* that."""
        return Mishap(self.folder, doing, target=str(self))


def locate(target: str, *, app_dir: Path, factory: bool = False) -> object:
    """The application that *target* (`module:attribute`, nested attributes allowed) names.

    Imports the module with *app_dir* first on the path; with *factory* the attribute is called.
    Raises `StartFailure`, with the original exception as its cause; `Misconfigured` when the
    application's own settings refused the environment.
    """
    folder = app_dir.resolve()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    taken = _taken_apart(target, folder)
    found = _attribute(_module(taken), taken)
    if factory:
        found = _made(found, taken)
    elif _is_factory(found):
        raise _failure(
            f"{taken} is a function without arguments: a factory, not an application.",
            f"Start it with --factory: {taken} --factory",
            Exit.NO_INPUT,
        )
    elif _is_async_factory(found):
        raise _failure(
            f"{taken} is an async function without arguments, not an application.",
            f"Make {taken.attribute} a plain function (def) that returns the application,"
            f" and start it with --factory: {taken} --factory",
            Exit.NO_INPUT,
        )
    if not callable(found):
        raise _not_callable(found, taken, factory)
    _refuse_look_alikes(found, taken)
    return _in_one_call(found) if _is_double(found) else found


def _failure(description: str, action: str, status: Exit) -> StartFailure:
    return StartFailure(_PHASE, description, action, status)


def _taken_apart(target: str, folder: Path) -> _Target:
    module, colon, attribute = target.partition(":")
    plain = module.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".").replace("\\", ".")
    if colon and attribute and module == plain and all(part.isidentifier() for part in plain.split(".")):
        return _Target(module, attribute, folder)
    names = [attribute] if attribute else _applications_in(plain)
    better = f"{plain or 'shop'}:{names[0] if names else 'app'}"
    raise _failure(
        f"{target!r} does not name an application: it must be module:attribute.",
        f"{'Did you mean' if plain else 'Name it, for example'}: {better}",
        Exit.NO_INPUT,
    )


def _applications_in(module: str) -> list[str]:
    try:
        return _applications(importlib.import_module(module))
    except (Exception, SystemExit):  # noqa: BLE001 - it was only looked at for a suggestion
        return []


def _module(target: _Target) -> ModuleType:
    try:
        return importlib.import_module(target.module)
    except ModuleNotFoundError as error:
        name = error.name or ""
        if target.module == name or target.module.startswith(f"{name}."):
            raise _no_module(target) from error
        raise explain(error, target.mishap(f"importing {target.module}")) from error
    except StartFailure:
        raise  # holdfast itself, used inside the application, has told already
    except (Exception, SystemExit) as error:
        raise explain(error, target.mishap(f"importing {target.module}")) from error


def _no_module(target: _Target) -> StartFailure:
    known = _modules_of(target.folder)
    description = f"There is no module {target.module!r} in {target.folder}, nor among the installed ones."
    base = base_of(target.module, target.folder)
    deeper = next((one for one in known if one.endswith(f".{target.module}")), None)
    near = nearest(target.module, known)
    if deeper is not None:
        inside = deeper.removesuffix(f".{target.module}").replace(".", "/")
        action = f"It is in {inside}/: start with --app-dir {inside}, or as {deeper}:{target.attribute}"
    elif base is not None:
        action = f"It is in {base}: start as {target} {from_folder(base)}"
    elif near is not None:
        action = f"Did you mean: {near}:{target.attribute}"
    elif known:
        action = f"Name one of these, or another folder with --app-dir: {', '.join(known[:_MOST_LISTED])}"
    else:
        action = "No Python file is there: start in the application's folder, or name it with --app-dir."
    return _failure(description, action, Exit.NO_INPUT)


def _modules_of(folder: Path) -> list[str]:
    """Dotted names of the Python files of *folder* and a little below, the highest first."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder).parts
        wanted = [one for one in sorted(folders) if one.isidentifier() and one not in _PASSED_OVER]
        folders[:] = wanted if len(inside) < _DEPTH - 1 and len(found) < _MOST_READ else []
        stems = [Path(one).stem for one in sorted(files) if one.endswith(".py")]
        found.extend(
            ".".join((*inside, one)) for one in stems if one.isidentifier() and not one.startswith("_")
        )
    return sorted(found, key=lambda one: (one.count("."), one))


def _attribute(module: ModuleType, target: _Target) -> object:
    found: object = module
    walked = target.module
    for part in target.attribute.split("."):
        try:
            inner: object = getattr(found, part)
        except AttributeError as error:
            raise _no_attribute(part, walked, found, target) from error
        found, walked = inner, f"{walked}.{part}"
    return found


def _no_attribute(part: str, walked: str, holder: object, target: _Target) -> StartFailure:
    names = [one for one in dir(holder) if not one.startswith("_")]
    applications = _applications(holder)
    near = nearest(part, applications) or nearest(part, names)
    actions = []
    if near is not None:
        better = ".".join(near if one == part else one for one in target.attribute.split("."))
        actions.append(f"Did you mean: {target.module}:{better}")
    if applications and near not in applications[:1]:
        actions.append(f"Applications in {walked}: {', '.join(applications[:_MOST_LISTED])}")
    if not actions:
        actions.append(f"Define {part} in {walked}, for example {part} = FastAPI(), or name what is there.")
    return _failure(f"{walked} has no {part!r}.", "\n".join(actions), Exit.NO_INPUT)


def _applications(holder: object) -> list[str]:
    """Names of what in *holder* looks like an ASGI application, the usual ones first."""
    public = [one for one in dir(holder) if not one.startswith("_")]
    # Statically: a property of the application is not to be run for a list of suggestions.
    found = [one for one in public if _is_asgi(inspect.getattr_static(holder, one, None))]
    return sorted(found, key=lambda one: (one not in {"app", "application", "api"}, one))


def _is_asgi(found: object) -> bool:
    if found is None or inspect.isclass(found) or inspect.ismodule(found) or not callable(found):
        return False
    called = found if inspect.isroutine(found) else type(found).__call__
    return _is_asgi_call(called, 3 if inspect.isroutine(found) else 4)


def _is_asgi_call(called: object, arguments: int) -> bool:
    return inspect.iscoroutinefunction(called) and _required(called) == arguments


def _in_one_call(found: Any) -> object:
    from uvicorn.middleware.asgi2 import ASGI2Middleware

    return ASGI2Middleware(found)


def _is_double(found: Any) -> bool:
    """Whether *found* is of ASGI's second version: called with the scope it gives what is called with the
    rest. Starlette's endpoints are given all three, and awaited."""
    if inspect.isclass(found):
        return not hasattr(found, "__await__") and _is_asgi_call(found.__call__, 3) and _required(found) == 1
    called = found if inspect.isroutine(found) else type(found).__call__
    names = [one for one in _parameters(called) if one != "self"]
    return names == ["scope"] and not inspect.iscoroutinefunction(called)


def _parameters(called: Any) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(called).parameters)
    except (TypeError, ValueError):
        return ()


def _is_factory(found: object) -> bool:
    return inspect.isroutine(found) and not inspect.iscoroutinefunction(found) and _required(found) == 0


def _is_async_factory(found: Any) -> bool:
    """Whether *found* is a coroutine function that can take nothing of what an application is called with."""
    if not inspect.isroutine(found) or not inspect.iscoroutinefunction(found):
        return False
    kinds = {one.kind for one in inspect.signature(found).parameters.values()}
    return kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}


def _required(found: Any) -> int | None:
    """How many arguments *found* must be given, or None when it does not tell."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return None  # a decorated application takes anything
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in parameters)


def _made(found: Any, target: _Target) -> object:
    if _is_asgi(found):
        action = f"Leave --factory out: {target}"
        raise _failure(f"{target} is an application already, not a factory.", action, Exit.NO_INPUT)
    if not callable(found):
        raise _not_callable(found, target, factory=False)
    needed = _required(found)
    if needed:
        raise _failure(
            f"{target} cannot be called without arguments, as a factory is (it needs {needed}).",
            f"Give them defaults, or wrap it: def create_app(): return {target.attribute}(...)",
            Exit.NO_INPUT,
        )
    try:
        made: object = found()
    except StartFailure:
        raise
    except (Exception, SystemExit) as error:
        raise explain(error, target.mishap(f"calling {target}")) from error
    return made


def _not_callable(found: object, target: _Target, factory: bool) -> StartFailure:
    kind = type(found).__name__
    if inspect.iscoroutine(found):
        found.close()  # or Python warns that it was never awaited
        description = f"{target} is async and returned a coroutine, not an application."
        action = f"Make {target.attribute} a plain function (def) that returns the application."
        return _failure(description, action, Exit.NO_INPUT)
    description = f"{target} {'returned' if factory else 'is'} {_article(kind)}, not an application."
    if factory:
        return _failure(description, f"Let {target.attribute} return the application.", Exit.NO_INPUT)
    others = _applications(sys.modules[target.module])
    action = f"Applications in {target.module}: {', '.join(others[:_MOST_LISTED])}"
    if not others:
        action = "Name the application object itself, for example the one made by FastAPI() or Starlette()."
    return _failure(description, action, Exit.NO_INPUT)


def _refuse_look_alikes(found: object, target: _Target) -> None:
    """What can be called and would fail at every request."""
    if inspect.isclass(found) and _is_asgi_call(found.__call__, 4):
        others = _applications(sys.modules[target.module])
        instead = f"it: {', '.join(others[:_MOST_LISTED])}" if others else f"one: app = {target.attribute}()"
        action = f"Name an instance of {instead}"
        raise _failure(f"{target} is a class, not an application made from it.", action, Exit.NO_INPUT)
    called = found if inspect.isroutine(found) else type(found).__call__
    names = set(_parameters(called))
    if {"environ", "start_response"} <= names:
        raise _failure(
            f"{target} is a WSGI application (Flask, Django's wsgi.py), and holdfast serves ASGI.",
            f"Django: name the application of asgi.py. Flask: wrap it, and name {target.attribute}_asgi:\n"
            f"  from a2wsgi import WSGIMiddleware     (or asgiref's: from asgiref.wsgi import WsgiToAsgi)\n"
            f"  {target.attribute}_asgi = WSGIMiddleware({target.attribute})",
            Exit.NO_INPUT,
        )


def _article(kind: str) -> str:
    return kind if kind == "NoneType" else f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
