"""What went wrong inside the application while it was imported or started: where, why, and what to do.

One place of the application's own is named instead of a traceback, and no secret is told.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from holdfast.faults.category import Category
from holdfast.faults.classify import classify
from holdfast.faults.redact import redact_text
from holdfast.runtime.packages import base_of, base_of_package, named_from
from holdfast.settings.declared import purposes
from holdfast.settings.failure import Exit, StartFailure
from holdfast.settings.parse import nearest
from holdfast.settings.report import Misconfigured, Problem
from holdfast.settings.words import told_without_secrets

_PHASE = "application"
_LONGEST_TEXT = 600
_MOST_TOLD = 5
_TAIL = re.compile(r"\n(?:\[SQL: |\(Background on this error at: )")
_RAISED = {
    True: "Correct what this line does, and start again.",
    False: "Mend what it says, and start again.",
}
_ENDED = {
    True: "Let the module only define the application; guard scripts with __name__.",
    False: "Let the startup raise what is in its way instead.",
}
_ABSENT = "Start the database that this line uses, or check its address."
_NESTED = re.compile("cannot be called from a running|loop is already running|while another loop is running")
_NOT_RUNNING = re.compile("no running event loop|no current event loop")
_TRACEBACK = "Run the same command with --debug for the whole traceback."


@dataclass(frozen=True, slots=True)
class Mishap:
    """What was being done ("importing shop"), the application's folder, and what it is called."""

    folder: Path
    doing: str
    importing: bool = True
    target: str = ""  # as it was given


def explain(error: BaseException, mishap: Mishap) -> StartFailure:
    """The failure to tell for *error*; `Misconfigured` when a variable is the reason."""
    refused = _refused_settings(error, mishap)
    if refused is not None:
        return refused
    if isinstance(error, BaseExceptionGroup):
        return _several(error, mishap)
    if isinstance(error, SyntaxError):
        return _syntax(error, mishap)
    where = f"{_where(error, mishap)} ({mishap.doing})"
    if isinstance(error, SystemExit):
        description = f"{where}: the application ended the process with status {error.code!r}."
        return _failure(redact_text(description), f"{_ENDED[mishap.importing]}\n{_TRACEBACK}")
    if isinstance(error, ModuleNotFoundError):
        return _failure(f"{where}: there is no module {error.name!r}.", _missing(error.name or "", mishap))
    description = f"{where}: {type(error).__name__}: {text_of(error)}"
    if isinstance(error, ImportError):
        return _failure(description, _import(error, mishap))
    if classify(error).category is Category.DATABASE_CONNECTION:
        return StartFailure(_PHASE, description, f"{_ABSENT}\n{_TRACEBACK}", Exit.UNAVAILABLE)
    action = _looping(error) if mishap.importing else None
    return _failure(description, f"{action or _RAISED[mishap.importing]}\n{_TRACEBACK}")


def loop_closed(target: str) -> StartFailure:
    """The application has closed the loop that was to serve it."""
    return _failure(
        f"{target} closed the event loop while it was imported.",
        "Let it run what it has to run with asyncio.run(...), which closes a loop of its own.",
    )


def explain_startup(error: BaseException | None, said: str, mishap: Mishap, status: Exit) -> StartFailure:
    """Why the application's own startup failed: by the *error* it raised, else by what it *said*.

    The exit status is *status*, unless a variable is the reason.
    """
    if error is None:
        reason, action = _said(said), f"{_RAISED[False]}\n{_TRACEBACK}"
    else:
        found = error if isinstance(error, StartFailure) else explain(error, mishap)
        if isinstance(error, StartFailure) or isinstance(found, Misconfigured):
            return found
        reason, action = found.description, found.action
    return StartFailure(_PHASE, f"The application's own startup failed.\n{reason}", action, status)


def _said(message: str) -> str:
    """What a message for people tells; of one that is a traceback, what stands below its places."""
    lines = message.strip().splitlines()
    if any(line.strip() == "Traceback (most recent call last):" for line in lines):
        last = max((number for number, line in enumerate(lines) if line.startswith("  ")), default=-1)
        lines = lines[last + 1 :] or lines[-1:]
    return _plain("\n".join(lines)) or "It gave no reason."


def _several(group: BaseExceptionGroup[BaseException], mishap: Mishap) -> StartFailure:
    found = [explain(one, mishap) for one in list(_leaves(group))[:_MOST_TOLD]]
    refused = [one for one in found if isinstance(one, Misconfigured)]
    if refused:
        problems = [problem for one in refused for problem in one.problems]
        return Misconfigured(problems, os.environ.get("APP_ENV", ""))
    descriptions = dict.fromkeys(one.description for one in found)
    actions = dict.fromkeys(line for one in found for line in one.action.splitlines())
    return _failure("\n".join(descriptions), "\n".join(actions))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


def text_of(error: BaseException) -> str:
    """The text of *error*, redacted and bounded; never raises for an error that cannot be printed."""
    try:
        # pydantic's text quotes what it was given, and that may be a password.
        errors = getattr(error, "errors", None)
        if type(error).__name__ == "ValidationError" and callable(errors):
            found = errors(include_url=False, include_context=False)
            text = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)
        else:
            text = str(error)
    except Exception:  # noqa: BLE001 - the application's exception has a broken text
        return "(its text cannot be read)"
    return _plain(text)


def _plain(text: str) -> str:
    # SQLAlchemy's errors end with their statement, its values and a link.
    plain = told_without_secrets(_TAIL.split(text, maxsplit=1)[0], os.environ).strip()
    return plain if len(plain) <= _LONGEST_TEXT else f"{plain[: _LONGEST_TEXT - 1]}…"


def _failure(description: str, action: str) -> StartFailure:
    return StartFailure(_PHASE, description, action, Exit.SOFTWARE)


def _refused_settings(error: BaseException, mishap: Mishap) -> Misconfigured | None:
    """The report when a settings class, or `os.environ[...]`, refused the environment."""
    app_env = os.environ.get("APP_ENV", "")
    if isinstance(error, KeyError) and _asked_environ(error):
        name = str(error.args[0])
        purpose, example = _purposes(mishap).get(name, ("", ""))
        wrong = f"is missing; {_where(error, mishap)} reads it"
        return Misconfigured([Problem(name, wrong, purpose, example)], app_env)
    if "pydantic_settings" not in sys.modules:
        return None
    from holdfast.settings.explain import explain_validation_error

    return explain_validation_error(error, _purposes(mishap), app_env)


def _purposes(mishap: Mishap) -> dict[str, tuple[str, str]]:
    return purposes(Path.cwd()) or purposes(mishap.folder)


def _asked_environ(error: KeyError) -> bool:
    frames = [frame for frame, _ in _frames(error.__traceback__)]
    return bool(frames) and bool(error.args) and frames[-1].f_locals.get("self") is os.environ


def _syntax(error: SyntaxError, mishap: Mishap) -> StartFailure:
    file = _shown(error.filename or "", mishap) or mishap.doing
    place = f"{file}:{error.lineno}" if error.lineno else file
    lines = [f"{place}: {type(error).__name__}: {redact_text(error.msg or 'invalid syntax')}"]
    written = (error.text or "").rstrip()
    if written and redact_text(written) == written:
        stripped = written.lstrip()
        lines.append(f"    {stripped}")
        if error.offset:
            before = stripped[: max(0, error.offset - 1 - (len(written) - len(stripped)))]
            lines.append("    " + "".join("\t" if sign == "\t" else " " for sign in before) + "^")
    ours = _is_ours(error.filename or "", mishap)
    action = "Correct that line, and start again."
    if not ours and error.filename:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        action = f"That file belongs to an installed package: is it made for Python {version}?"
    return _failure("\n".join(lines), action)


def _looping(error: BaseException) -> str | None:
    """What to do where an import expects the loop to run, or not to."""
    if not isinstance(error, RuntimeError):
        return None
    if _NESTED.search(str(error)):
        return (
            "The application is imported while the loop runs, as its uvicorn does: do this in its lifespan"
            " (startup),\nor install uvicorn 0.47 or newer, with which applications are imported before."
        )
    if _NOT_RUNNING.search(str(error)):
        return "No loop runs yet while the application is imported: do this in its lifespan (startup)."
    return None


def _missing(name: str, mishap: Mishap) -> str:
    top = name.partition(".")[0]
    install = f"nstall what provides {top!r} for {sys.executable}"
    base = base_of(top, mishap.folder)
    outside = named_from(base, mishap.target, mishap.folder) if base is not None else None
    if outside is not None:
        return f"If that is the {top!r} in {base}: start as {outside}\nOtherwise i{install}."
    _, folders, files = next(os.walk(mishap.folder), ("", [], []))
    beside = [*folders, *(one.removesuffix(".py") for one in files if one.endswith(".py"))]
    near = nearest(name, beside)
    if near is not None and near != name:
        return f"Did you mean {near}? Otherwise i{install}."
    return f"I{install}, or correct the import."


def _import(error: ImportError, mishap: Mishap) -> str:
    if "attempted relative import" in str(error):
        outside = named_from(base_of_package(mishap.folder), mishap.target, mishap.folder)
        part = "The application is part of a package, and is started as though it were not"
        if outside is not None:
            return f"{part}: start as {outside}"
        return f"{part}: start as package.{mishap.target} from the folder above, or with --app-dir."
    if "partially initialized module" in str(error) or "circular import" in str(error):
        return (
            f"Two modules import each other: move one import into the function that needs it.\n{_TRACEBACK}"
        )
    return f"Correct the name that is imported, or install a version that has it.\n{_TRACEBACK}"


def _where(error: BaseException, mishap: Mishap) -> str:
    """`file:line` of the innermost frame that is the application's own, else of the innermost."""
    frames = [(frame.f_code.co_filename, line) for frame, line in _frames(error.__traceback__)]
    seen = [one for one in frames if _is_ours(one[0], mishap)] or frames[-1:]
    if not seen:
        return mishap.doing
    file, line = seen[-1]
    return f"{_shown(file, mishap)}:{line}"


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_ours(file: str, mishap: Mishap) -> bool:
    if not file or file.startswith("<"):
        return False
    path = Path(file).resolve()
    inside = path.is_relative_to(mishap.folder) and not path.is_relative_to(Path(sys.prefix).resolve())
    return inside and "site-packages" not in path.parts


def _shown(file: str, mishap: Mishap) -> str:
    return str(Path(file).resolve().relative_to(mishap.folder)) if _is_ours(file, mishap) else file
