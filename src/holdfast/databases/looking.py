"""What the watch sees when it looks at a database's connections, and which of them it ends."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.databases.database import Database
from holdfast.databases.link import Link

AFTER_SILENCE = 0.3  # seconds for what was sent before an outage to be answered after it
_FEW = 2  # idle connections that stay, whoever else has none


@dataclass(frozen=True, slots=True)
class Watchfulness:
    """How closely to look, in seconds."""

    suspect_after: float = 1.0  # a query outstanding so long, and nothing completed since
    silence: float = 1.0  # a knock met no byte for so long
    heartbeat: float = 30.0
    connect_timeout: float = 10.0
    keep: int = 2  # connections that stay however long they lie idle
    trial: float = 2.0  # a login of our own that shows whether others' are lost
    max_wait: float = 10.0  # what nobody may run again is left alone for so long
    fail_fast_after: float = 60.0


def quiet(database: Database, now: float, suspect_after: float) -> bool:
    """Whether something is outstanding for too long and nothing has been heard since it was sent."""
    if now - database.known_at() < suspect_after:
        return False
    began = [link.began for link in list(database.links.values()) if link.began]
    began += [opening.since for opening in list(database.connecting.values())]
    return any(now - since > suspect_after for since in began)


def stuck(database: Database, link: Link, now: float, rules: Watchfulness) -> bool:
    """Whether what was sent on *link* can only be waiting on a connection that will never speak.

    A ping that the living server left unanswered; a statement of before an outage that is still
    unanswered a while after it (a short one if it can be run again); one that waited through an
    outage as long as anyone may.
    """
    began = link.began
    if database.away:
        return now - began > rules.max_wait + AFTER_SILENCE
    if link.pinging and now - began > rules.silence:
        return database.known_at() > began
    recovered = database.recovered_at
    grace = AFTER_SILENCE if link.may_be_cut() else rules.silence
    return began < recovered and now - recovered > grace


def hung_up(database: Database) -> bool:
    """Whether the other side has closed a connection that lies idle; it is taken out of use.

    One look a sweep, at the one unused for the longest: so a server that went while nobody asked
    it anything is missed within moments, and not by its next user.
    """
    idle = [
        link for link in list(database.links.values()) if not link.out and not link.began and not link.cut
    ]
    if not idle:
        return False
    eldest = min(idle, key=lambda link: link.used_at)
    if not eldest.is_gone():
        return False
    eldest.abort()
    return True


def holds_on(database: Database) -> bool:
    """Whether the application has a connection that lives, as far as the kernel knows."""
    return any(not link.is_gone() for link in list(database.links.values()))


def reap(database: Database, now: float, keep: int) -> None:
    """End the connections of a pool that have lain idle too long, but for the last *keep* used.

    The pool finds them closed when it would hand them out, and opens new ones.
    """
    idle = [
        link for link in list(database.links.values()) if link.idle_limit and not link.out and not link.cut
    ]
    if len(idle) <= keep:
        return
    idle.sort(key=lambda link: link.used_at)
    for link in idle[: len(idle) - keep]:
        if now - link.used_at > link.idle_limit and not link.began:
            link.abort()


def shed(database: Database) -> None:
    """End the longest idle connection of a pool that we have grown, unless they are few: a full server
    has none left for us, and others may be quicker to take its place."""
    idle = [
        link
        for link in list(database.links.values())
        if link.idle_limit and not (link.out or link.cut or link.began)
    ]
    if len(idle) > _FEW:
        min(idle, key=lambda link: link.used_at).abort()


def cut(database: Database) -> None:
    """End what lies idle and what blocks a thread, if it can be run again.

    A task that waits costs nothing, and what cannot be run again has no other hope: should the
    bytes only be delayed, both are answered the moment they come.
    """
    for link in list(database.links.values()):
        if link.may_be_cut() and (link.blocks or not link.began):
            link.abort()
    for opening in list(database.connecting.values()):
        opening.end()


def cut_idle(database: Database) -> None:
    """End the connections that lie unused in a pool: they are of before the outage."""
    for link in list(database.links.values()):
        if not link.out and not link.began:
            link.abort()
