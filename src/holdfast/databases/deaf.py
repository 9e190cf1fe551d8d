"""Connections on which nobody will ever answer, though the server lives: found by asking the server.

A moment's silence takes some bytes and is over before anybody suspects anything. What was under
way then waits on connections that will never speak again, while all others go on as ever: nothing
speaks against the database. A server says of each of its processes whether it works, or waits for
its client, and since when. Of a login it cannot say it: one that is still out when a later one of
ours has been let in is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.databases.database import Database, Session
from holdfast.databases.link import Link, Opening
from holdfast.databases.looking import AFTER_SILENCE, Watchfulness
from holdfast.databases.post import Post
from holdfast.events import Bus, ConnectionGivenUp


class Deaf:
    """Asks the servers of one watch; all of it runs on the watch's loop. *open_* logs in within seconds."""

    def __init__(
        self,
        rules: Watchfulness,
        clock: Clock,
        bus: Bus,
        open_: Callable[[Database, float], Awaitable[Session]],
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._bus = bus
        self._open = open_

    def question(self, post: Post, now: float) -> Coroutine[Any, Any, None] | None:
        """What is to be asked now, if anything is out for long: at most once in a while."""
        rules = self._rules
        if now - post.asked_at <= rules.suspect_after:
            return None
        # Of several hosts each numbers its own processes: one could be taken for another's.
        late = overdue(post.database, now, rules) if post.database.driver.can_knock else {}
        logins = late_logins(post.database, now - rules.suspect_after)
        if not (late or logins):
            return None
        post.asked_at = now
        return self._ask(post, late, try_login=bool(logins))

    async def _ask(self, post: Post, late: dict[Link, float], *, try_login: bool) -> None:
        """Ask about *late*, and end what will never be answered."""
        began = self._clock.monotonic()
        waiting = await self._told(post, [link.backend for link in late], afresh=try_login)
        if waiting is None:
            return
        now = self._clock.monotonic()
        for link, sent_at in late.items():
            waits = waiting.get(link.backend, 0.0)
            if deaf(link, sent_at, waits, now, self._rules):
                given_up = partial(self._given_up, post.database, now - sent_at, waits)
                link.abort_unless_answered(sent_at, given_up)
        if try_login:
            await asyncio.sleep(AFTER_SILENCE)
            for opening in late_logins(post.database, began - self._rules.suspect_after):
                opening.end()
                self._given_up(post.database, self._clock.monotonic() - opening.since, None)

    async def _told(self, post: Post, backends: list[int], *, afresh: bool) -> dict[int, float] | None:
        """What the server says, on a session that has just been let in if *afresh*; None: nothing."""
        session = None if afresh else post.session
        try:
            if session is None:
                session = await self._open(post.database, self._rules.trial)
                await post.keep(session)
            if not backends:
                return {}
            return await asyncio.wait_for(session.waiting(backends), self._rules.silence)
        except Exception:  # noqa: BLE001 - whatever a driver raises: it is asked again in a while
            if post.session is session:
                await post.keep(None)
            return None

    def _given_up(self, database: Database, outstanding: float, waits: float | None) -> None:
        self._bus.publish(
            ConnectionGivenUp(
                database=database.name,
                outstanding_s=round(outstanding, 3),
                server_waits_s=None if waits is None else round(waits, 3),
            )
        )


def overdue(database: Database, now: float, rules: Watchfulness) -> dict[Link, float]:
    """What has been outstanding for long on connections whose server can be asked about them: since when."""
    links = {link: link.began for link in list(database.links.values())}
    return {
        link: began
        for link, began in links.items()
        if began and now - began > rules.suspect_after and link.backend and not (link.cut or link.pinging)
    }


def late_logins(database: Database, before: float) -> list[Opening]:
    """Logins that have been under way since *before* that moment."""
    openings = list(database.connecting.values())
    return [opening for opening in openings if opening.login and opening.since < before]


def deaf(link: Link, began: float, waits: float, now: float, rules: Watchfulness) -> bool:
    """Whether nobody will ever answer what was sent on *link* at *began*, though the server lives.

    the server says                       our kernel has      cut, it can…  then
    nothing of it, or that it works       –                   –             it may take its time
    it waits for us, but not for long     –                   –             its answer is on its way
    it waits for us for long (*waits*)    unread bytes        –             we are the slow ones
    it waits for us for long              nothing             be run again  deaf
                                                              or sent again deaf
                                                              not           left alone as long as anyone may
                                                                            wait: a delay is its only hope
    """
    if waits < rules.suspect_after or link.began != began or link.has_bytes():
        return False
    return link.may_be_cut() or link.reads_first or now - began > rules.max_wait
