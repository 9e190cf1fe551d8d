"""What the figures mean, in sentences: a pure step from one look at the shop to the next.

Calm      the database is away            tell that it is lost            Away
Away      it is back, nobody waits        tell how long, how many         Calm
Away      still away, or some still wait  nothing                         Away
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never

from holdfast.demo.figures import Figures


@dataclass(frozen=True, slots=True)
class Calm:
    """The database answers; `figures` are those of the last look."""

    figures: Figures


@dataclass(frozen=True, slots=True)
class Away:
    """The database was lost; `before` are the figures before that."""

    before: Figures


State: TypeAlias = Calm | Away


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log; its kind is good, bad or plain."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """The state after a look, what to tell, and whether an outage has ended just now."""

    state: State
    lines: tuple[Line, ...] = ()
    over: bool = False


def look(state: State, figures: Figures) -> Told:
    """The shop shows *figures* now."""
    match state:
        case Calm(before):
            # A short outage can begin and end between two looks: its length tells.
            if figures.up and figures.outages_s == before.outages_s:
                return Told(Calm(figures))
            lost = Line("bad", "holdfast lost the database. Requests wait at the door.")
            later = look(Away(before), figures)
            return Told(later.state, (lost, *later.lines), later.over)
        case Away(before):
            if not figures.up or figures.waiting:
                return Told(state)
            return Told(Calm(figures), _recovered(before, figures), over=True)
        case _:
            assert_never(state)


def _recovered(before: Figures, after: Figures) -> tuple[Line, ...]:
    waited = after.held - before.held
    failed = after.failed - before.failed
    again = after.replayed - before.replayed
    away = after.outages_s - before.outages_s
    text = f"Recovered after {away:.1f} s: {_requests(waited)} waited, {again} run again, {failed} failed."
    lines = [Line("bad" if failed else "good", text)]
    codes = {code: times - before.refused.get(code, 0) for code, times in after.refused.items()}
    reasons = [f"{times} × {code}" for code, times in sorted(codes.items()) if times]
    if reasons:
        lines.append(Line("bad", f"Refused: {', '.join(reasons)}."))
    return tuple(lines)


def audit(confirmed: list[str], found: dict[str, int]) -> Line:
    """Compare the *confirmed* orders with how often each was *found* in the database."""
    lost = sum(reference not in found for reference in confirmed)
    doubled = sum(times > 1 for times in found.values())
    if lost or doubled:
        return Line("bad", f"Orders checked: {lost} confirmed ones are lost, {doubled} are there twice.")
    return Line(
        "good", f"Orders checked: all {len(confirmed)} confirmed ones are in the database, each once."
    )


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
