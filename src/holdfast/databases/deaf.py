"""Connections on which nobody will ever answer, though the server lives: found by asking the server.

A moment's silence takes some bytes and is over before anybody suspects anything. What was under
way then waits on connections that will never speak again, while all others go on as ever: nothing
speaks against the database. A server says of each of its processes whether it works, or waits for
its client, and since when. Of a login it cannot say it: one that is still out when a later one of
ours has been let in is lost.

Silences come in swarms, and the next one may take our own question, or our own login. No single
one of them is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import count
from typing import Any

from holdfast.clock import Clock
from holdfast.databases.database import Database, Session
from holdfast.databases.link import Link, Opening
from holdfast.databases.looking import AFTER_SILENCE, Watchfulness
from holdfast.databases.post import Post, Race
from holdfast.events import Bus, ConnectionGivenUp

_PAUSE = 0.2  # seconds at least between two questions
_BESIDE = 0.4  # seconds after which whoever asks may be lost, and another asks beside it
_AT_ONCE = 5  # of those


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
        """What is to be asked now, if anything is out for long: about the same at most once in a while."""
        rules = self._rules
        asked_ago = now - post.asked_at
        if asked_ago < _PAUSE:
            return None
        # Of several hosts each numbers its own processes: one could be taken for another's.
        late = overdue(post.database, now, rules) if post.database.driver.can_knock else {}
        judged = post.let_in - rules.suspect_after  # of logins before, it is known what becomes of them
        logins = [one for one in late_logins(post.database, now - rules.suspect_after) if one.since >= judged]
        since = [*late.values(), *(one.since for one in logins)]
        if not since:
            return None
        if asked_ago <= rules.suspect_after and max(since) < post.asked_at - rules.suspect_after:
            return None  # nothing that was not late by then as well
        post.asked_at = now
        return self._ask(post, late, try_login=bool(logins))

    def let_in(self, post: Post, began: float) -> None:
        """A login of ours that was begun at *began* has been let in: what is out for longer is soon lost.

        It proves nothing if it took long: others' may need as long.
        """
        post.login_s = self._clock.monotonic() - began
        if post.login_s <= self._rules.trial:
            post.let_in = began
            before = began - self._rules.suspect_after
            asyncio.get_running_loop().call_later(AFTER_SILENCE, self._end_logins, post, before)

    def _end_logins(self, post: Post, before: float) -> None:
        """End what has been out since *before*; each is told to end once, for its end takes a moment."""
        for opening in late_logins(post.database, before):
            if opening.since >= post.ended_before:
                opening.end()
                self._given_up(post.database, self._clock.monotonic() - opening.since, None)
        post.ended_before = max(post.ended_before, before)

    async def _ask(self, post: Post, late: dict[Link, float], *, try_login: bool) -> None:
        """Ask about *late*, and end what will never be answered."""
        try:
            waiting = await self._told(post, [link.backend for link in late], afresh=try_login)
        except Exception:  # noqa: BLE001 - whatever a driver raises: it is asked again in a while
            return
        now = self._clock.monotonic()
        for link, sent_at in late.items():
            waits = 0.0 if waiting is None else waiting.get(link.backend, 0.0)
            if deaf(link, sent_at, waits, now, self._rules):
                given_up = partial(self._given_up, post.database, now - sent_at, waits)
                link.abort_unless_answered(sent_at, given_up)

    async def _told(self, post: Post, backends: list[int], *, afresh: bool) -> dict[int, float] | None:
        """What the server says, on a session that has just been let in if *afresh*; None: nothing.

        What asks may be lost in a moment's silence as well. So that this costs no time-out, further
        logins are begun beside it, further apart where they take their time; the first that is told
        counts. Raises what refuses one.
        """
        apart = max(_BESIDE, 1.5 * post.login_s)
        tried = post.session if afresh else None
        with Race[dict[int, float]]() as race:
            for number in count(1):
                if number <= _AT_ONCE:
                    ours = post.session if post.session is not tried else None  # another's, by now
                    tried = ours or tried
                    race.enter(self._asked(post, ours, backends))
                if not race:
                    break
                told = await race.first(apart if number < _AT_ONCE else None)
                if told is not None or post.database.away:
                    return told
        post.login_s = self._rules.trial  # or more, for all that we know
        return None

    async def _asked(self, post: Post, ours: Session | None, backends: list[int]) -> dict[int, float] | None:
        """What the server says on *ours*, or on a session that it lets in now, which is ours from then on;
        None: nothing. Raises what refuses to let us in."""
        session = ours
        try:
            if session is None:
                session = await self._open(post.database, self._rules.trial)
            told: dict[int, float] = {}
            if backends:
                told = await asyncio.wait_for(session.waiting(backends), self._rules.silence)
        except BaseException as error:
            await self._drop(post, session)
            if isinstance(error, TimeoutError) or (ours is not None and isinstance(error, Exception)):
                return None
            raise
        if ours is None:
            await post.keep(session)
        return told

    async def _drop(self, post: Post, session: Session | None) -> None:
        if session is not None and session is post.session:
            await post.keep(None)
        elif session is not None:
            await session.close()

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
