"""`holdfast journal`: look at journaled requests, retry or drop them, take them out; the server may run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO, TypeVar

import typer

if TYPE_CHECKING:
    from holdfast.events import Event
    from holdfast.settings.settings import Settings
    from holdfast.work.entry import Entry, State
    from holdfast.work.journal import Journal

T = TypeVar("T")
AppDir = Annotated[Path, typer.Option(help="Folder whose .env files are read.")]
EnvFile = Annotated[Path | None, typer.Option(help="Read the environment from this file too.")]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="NUMBER...", help="As `list` shows them.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_NOT_ALL = 1
_NO_JOURNAL = 66
_UNAVAILABLE = 69
_CANNOT_CREATE = 73
_UNUSABLE = 78
_PAGE = 200
_PATIENCE_S = 2.0  # for a Redis that is away: somebody sits before the terminal
_ANSWER_S = 30.0  # a journal that says nothing for so long is away
_JOURNAL_NAMES = ("HOLDFAST_STATE_DIR", "HOLDFAST_JOURNAL")

journal = typer.Typer(
    name="journal",
    help="Look at journaled requests, retry or drop them, take them out. The server may run meanwhile.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class StateName(StrEnum):
    """The states, for the command line."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DEAD = "dead"


OnlyState = Annotated[StateName | None, typer.Option("--state", help="Only those of this state.")]


@journal.command("list")
def list_(
    state: OnlyState = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, oldest first.")] = 100,
    app_dir: AppDir = Path(),
    env_file: EnvFile = None,
) -> None:
    """One line for each journaled request."""
    import time

    from holdfast.cli.journal_told import summary, table

    with _opened(app_dir, env_file) as (opened, settings):
        shown = list(_some(opened, state, limit))
        if shown:
            print(table(shown, time.time()), end="\n\n")
        if len(shown) == limit:
            print(f"the first {limit}; --limit shows more")
        bound = settings.journal_max_bytes
        print(f"{opened.place}: {summary(_said(opened.backlog()), bound)}")


@journal.command()
def show(
    number: Annotated[int, typer.Argument(help="As `list` shows it.")],
    app_dir: AppDir = Path(),
    env_file: EnvFile = None,
) -> None:
    """All of one journaled request and its answer, secrets masked."""
    import time

    from holdfast.cli.journal_told import sheet

    with _opened(app_dir, env_file) as (opened, _):
        found = _said(opened.entry(number))
        if found is None:
            _fail(f"there is no number {number} in {opened.place}", _NOT_ALL)
        print(sheet(found, time.time()))


@journal.command()
def retry(
    numbers: Numbers = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All that were given up.")] = False,
    app_dir: AppDir = Path(),
    env_file: EnvFile = None,
) -> None:
    """Have failed or dead requests run again, their attempts counted from the beginning."""
    from holdfast.work.entry import State

    if bool(numbers) == all_dead:
        raise typer.BadParameter("give numbers, or --all-dead")
    with _opened(app_dir, env_file) as (opened, _):
        dead = (entry.number for entry in _every(opened, State.DEAD)) if all_dead else None
        chosen = list(dead) if dead is not None else numbers or []
        _each(opened, chosen, opened.retry, "will be run again", "only failed or dead ones can be retried")
        if not chosen:
            print(f"nothing is dead in {opened.place}")


@journal.command()
def drop(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...", help="As `list` shows them.")],
    yes: Yes = False,
    app_dir: AppDir = Path(),
    env_file: EnvFile = None,
) -> None:
    """Remove requests for good; those that are running are left."""
    with _opened(app_dir, env_file) as (opened, _):
        count = f"{len(numbers)} journaled request{'s' if len(numbers) > 1 else ''}"
        if not yes and not typer.confirm(f"Remove {count} from {opened.place} for good?"):
            _fail("nothing was removed", _NOT_ALL)
        _each(opened, numbers, opened.drop, "was removed", "one that runs cannot be removed")


@journal.command()
def export(
    output: Annotated[Path | None, typer.Option(help="A new file (mode 0600); else standard output.")] = None,
    raw: Annotated[bool, typer.Option("--raw/--redacted", help="With all secrets, as it was sent.")] = False,
    state: OnlyState = None,
    yes: Yes = False,
    app_dir: AppDir = Path(),
    env_file: EnvFile = None,
) -> None:
    """Every journaled request as a line of JSON."""
    from holdfast.cli.journal_told import record

    if raw and not yes and not typer.confirm("Passwords, tokens and cookies will be in it. Go on?", err=True):
        _fail("nothing was exported", _NOT_ALL)
    with _opened(app_dir, env_file) as (opened, _), _written(output) as file:
        count = 0
        for entry in _every(opened, _state(state)):
            print(record(entry, raw=raw), file=file)
            count += 1
        print(f"{count} exported", file=sys.stderr)


# ---- inside -----------------------------------------------------------------------------------------


@contextmanager
def _opened(app_dir: Path, env_file: Path | None) -> Iterator[tuple[Journal, Settings]]:
    """The journal that the settings name. Ends the process with a reason when it cannot be read."""
    from holdfast.events import Bus
    from holdfast.work.journal import JournalError, JournalInaccessibleError, JournalUnusableError
    from holdfast.work.opening import Place, is_there, open_journal

    settings = _settings(app_dir, env_file)
    place = Place(
        folder=settings.state_dir,
        url=settings.journal_url,
        key=settings.journal_key,
        max_bytes=settings.journal_max_bytes,
    )
    bus = Bus()
    bus.subscribe(_tell)
    try:
        if not is_there(place):
            where = "run this in the server's folder, or set HOLDFAST_STATE_DIR"
            _fail(f"there is no journal in {place}; {where}", _NO_JOURNAL)
        opened = open_journal(place, bus, patience_s=_PATIENCE_S, begins_seal=False)
    except JournalInaccessibleError as error:
        _fail(str(error), _CANNOT_CREATE)  # as a start
    except JournalUnusableError as error:
        _fail(str(error), _UNUSABLE)
    except JournalError as error:
        _fail(str(error), _UNAVAILABLE)
    try:
        yield opened, settings
    except JournalError as error:
        _fail(str(error), _UNAVAILABLE)
    finally:
        opened.close()


def _settings(app_dir: Path, env_file: Path | None) -> Settings:
    """As the server reads them; only what names the journal has to be right."""
    from holdfast.settings.environment import load
    from holdfast.settings.report import Misconfigured
    from holdfast.settings.settings import Settings

    environment = load(app_dir.resolve(), os.environ, default="production", env_file=env_file)
    settings, problems = Settings.examined(environment.values, environment.app_env, environment.sources)
    wrong = [one for one in problems if one.name.startswith(_JOURNAL_NAMES)]
    if wrong or environment.problems:
        refused = Misconfigured((*environment.problems, *wrong), environment.own)
        print(refused, file=sys.stderr)
        raise typer.Exit(refused.exit_status)
    return settings


def _said(asked: Future[T]) -> T:
    """What the journal says. Raises JournalError."""
    from holdfast.work.journal import JournalError

    try:
        return asked.result(_ANSWER_S)
    except TimeoutError:
        raise JournalError(f"the journal gave no answer within {_ANSWER_S:.0f} s") from None


def _every(opened: Journal, state: State | None) -> Iterator[Entry]:
    """All of *state*, page by page, so that a large journal does not have to fit into memory."""
    after = 0
    while page := _said(opened.listed(state, _PAGE, after)):
        yield from page
        after = page[-1].number


def _some(opened: Journal, state: StateName | None, most: int) -> Iterator[Entry]:
    for count, entry in enumerate(_every(opened, _state(state)), start=1):
        yield entry
        if count == most:
            return


def _each(
    opened: Journal, numbers: list[int], change: Callable[[int], Future[bool]], done: str, refused: str
) -> None:
    """Change each of *numbers*, and say so; ends the process with 1 when one could not be."""
    failed = False
    for number in numbers:
        if _said(change(number)):
            print(f"{number} {done}")
            continue
        failed = True
        entry = _said(opened.entry(number))
        told = f"there is no number {number} in {opened.place}"
        if entry is not None:
            told = f"{number} is {entry.state.value}: {refused}"
        print(told, file=sys.stderr)
    if failed:
        raise typer.Exit(_NOT_ALL)


@contextmanager
def _written(output: Path | None) -> Iterator[TextIO]:
    """Where lines go: a new file for our eyes only, or standard output."""
    if output is None:
        yield sys.stdout
        return
    try:
        number = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        _fail(f"{output} cannot be made: {error.strerror}", _CANNOT_CREATE)
    with open(number, "w", encoding="utf-8") as file:  # noqa: PTH123 - it is open already
        yield file


def _state(name: StateName | None) -> State | None:
    from holdfast.work.entry import State

    return State(name.value) if name is not None else None


def _tell(event: Event) -> None:
    from holdfast.work.events import JournalFailing

    if isinstance(event, JournalFailing):
        return  # the error that ends the command says the same
    told = ", ".join(f"{one.name} {getattr(event, one.name)}" for one in fields(event))
    print(f"holdfast journal: {event.name}: {told}", file=sys.stderr)


def _fail(message: str, status: int) -> NoReturn:
    print(f"holdfast journal: {message}", file=sys.stderr)
    raise typer.Exit(status)
