"""`holdfast free-port N`: who holds a port, and an end to it after a yes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from holdfast.runtime.holders import Held

_DECLINED = 1
_UNAVAILABLE = 69
_NO_PERMISSION = 77


def free_port(
    port: Annotated[int, typer.Argument(min=1, max=65535, help="The port that is to be free.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds that it may take to end by itself, before it is made to.")
    ] = 5.0,
) -> None:
    """Show who listens on PORT and, after a yes, end it: asked first, then by force."""
    from holdfast.runtime.freeing import end
    from holdfast.runtime.holders import held

    found = held(port)
    if not (found.holders or found.hidden):
        print(f"nobody listens on port {port}")
        return
    _show(found)
    _refuse_others(found)
    if not (yes or _agreed()):
        raise typer.Exit(_DECLINED)
    freed = end(found, wait, print)
    again = held(port)
    if not (again.holders or again.hidden):
        print(f"port {port} is free")
    elif freed:
        _show(again)
        _fail(f"port {port} is taken again: stop what starts it (a supervisor, a reloader)", _UNAVAILABLE)
    else:
        _fail(f"port {port} is still held", _UNAVAILABLE)


def _show(found: Held) -> None:
    from holdfast.runtime.holders import eldest

    begun = eldest(found.holders)
    for one in begun:
        print(f"port {found.port} is held by {one}")
    others = [str(one.pid) for one in found.holders if one not in begun]
    if others:
        print(f"  shared with what it has started: {', '.join(others)}")
    if found.hidden:
        print(f"port {found.port} is held by a process that this user cannot see")


def _refuse_others(found: Held) -> None:
    from holdfast.runtime.port import way_to_stop

    theirs = [one for one in found.holders if not one.mine]
    ways = [way_to_stop(found.port, one, sys.platform) for one in theirs]
    if found.hidden:
        ways.append(way_to_stop(found.port, None, sys.platform))
    if ways:
        _fail(f"a process of another user is not ended here; {'; '.join(ways)}", _NO_PERMISSION)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        _fail("nothing is ended without a yes, and nobody is here to ask: add --yes", _DECLINED)
    return typer.confirm("End it?", default=False)


def _fail(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(status)
