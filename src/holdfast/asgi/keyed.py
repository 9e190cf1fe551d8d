"""A request with a key on its way through `Replay`: what is asked of `Keys`, and answered from it."""

from __future__ import annotations

import asyncio
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING

from holdfast.asgi.body import ClientGoneError
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.journal_run import SCOPE_KEY as RERUN
from holdfast.asgi.key_questions import DatabaseBusyError
from holdfast.asgi.keys import DatabaseLostError
from holdfast.asgi.line import Verdict
from holdfast.context import Marker, Request
from holdfast.databases.markers import Kept
from holdfast.faults.category import Category, Fault
from holdfast.policy.keys import is_final
from holdfast.policy.replay import Commit

if TYPE_CHECKING:
    from holdfast.asgi.replay import Replay


_MOST_UNREAD = 64 * 1024 * 1024  # bytes of a body that nobody wants
_LONG_S = 0.2  # to look: long enough for a client to have left
_CODES = {Verdict.STOPPING: "shutting_down", Verdict.FULL: "waiting_room_full"}


class Keyed:
    """The part of *replay* that concerns keys."""

    __slots__ = ("_replay",)

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    async def claims(self, exchange: Exchange) -> bool:
        """Take hold of the request's key, if it has one; False when it has been answered instead."""
        request, keys = exchange.request, self._replay.keys
        postponed = self._replay.postponing.concerns(exchange)
        fresh = postponed and request.key is None and keys.flaw(request) is None
        if fresh:
            request.key = token_hex(16)  # so that it happens once, whenever it is run
        try:
            claim = await keys.claim(request, exchange.scope.get("query_string", b""), exchange.body)
        except ClientGoneError:
            exchange.ended = True
            self._replay.tell.abandoned(request)
            return False
        if isinstance(claim, Kept | str):
            await self._answers(exchange, claim)
            return False
        exchange.claim = claim
        if fresh and claim is not None:
            request.marker = Marker(claim.name, claim.fingerprint)
        return True

    async def is_first(self, exchange: Exchange) -> bool:
        """Whether nothing is kept under the key; else it is answered with that."""
        request = exchange.request
        if request.marker is not None:
            return True  # a key of our own: nothing can be kept under it
        assert exchange.claim is not None
        keys, needs = self._replay.keys, self._replay.needs
        if needs.none(request.method, request.path) and not keys.within_reach():
            keys.mark(exchange.claim, request)  # what needs no database does not wait for one
            found = None
        else:
            found = await self._looked(exchange, needs.of(request.method, request.path))
        if found is None:
            exchange.record(keys.rules.answer_bytes)
            exchange.claim.recorder = exchange.recorder
        else:
            await self._answers(exchange, found)
        return found is None

    async def _answers(self, exchange: Exchange, found: Kept | str) -> None:
        """With the first answer, or with a refusal of that code; when all of the body is there."""
        await exchange.body.drain(_MOST_UNREAD)
        if isinstance(found, Kept):
            await self._replay.answers.again(exchange, found)
            self._replay.tell.given_again(exchange.request, found.status)
        elif not exchange.ended:
            await self._replay.refuse(exchange, found)

    async def _looked(self, exchange: Exchange, names: frozenset[str]) -> Kept | str | None:
        """What is kept under the key, or the code of a refusal; waits for a database that is away."""
        request, claim = exchange.request, exchange.claim
        assert claim is not None
        while True:
            began = monotonic()
            try:
                try:
                    found = await self._replay.keys.look(claim, request, names)
                except DatabaseBusyError as busy:
                    found = await self._asked_again(exchange, names, busy)
            except DatabaseLostError as lost:
                self._replay.give_up_turns(exchange, answered=False)
                if not await self._replay.waited(exchange, lost.database):
                    return "database_unavailable"
                continue
            if exchange.ended:
                return found
            if monotonic() - began > _LONG_S and await exchange.body.has_left():
                exchange.ended = True  # nobody runs orders whose clients left
                self._replay.tell.abandoned(request)
                return "database_unavailable"
            return found

    async def _asked_again(
        self, exchange: Exchange, names: frozenset[str], busy: DatabaseBusyError
    ) -> Kept | str | None:
        """What is kept under the key, asked for until *busy* has passed, or for as long as one waits for a
        database that is away; the code of a refusal. Raises DatabaseLostError."""
        request, claim, replay = exchange.request, exchange.claim, self._replay
        assert claim is not None
        replay.give_up_turns(exchange, answered=False)
        asking = asyncio.ensure_future(replay.keys.look(claim, request, names, patient=True))
        asking.add_done_callback(_looked_at)
        try:
            verdict = await replay.door.wait_beside(asking, busy.database, request, exchange.body)
        finally:
            asking.cancel()  # no matter if it is done
        if verdict is Verdict.GO:
            return asking.result()
        code = _CODES.get(verdict) or _code_of(busy.fault, request)
        if verdict is Verdict.GONE:
            exchange.ended = True
            replay.tell.abandoned(request)
        else:
            await replay.postponing.give_up(exchange, code, busy.database)
        return code

    async def applied_before(self, exchange: Exchange) -> None:
        """An earlier attempt had its effect, and this one was rolled back: the answer is the first one."""
        request, claim = exchange.request, exchange.claim
        assert request.marker is not None
        assert claim is not None
        self._replay.records.forget(request)
        exchange.discard()
        exchange.recorder = claim.recorder = None  # what leaves now is not the first answer
        names = frozenset({request.marker.database or ""} - {""})
        found = await self._looked(exchange, names)
        if found is None:  # whom we asked does not know of it: another server may have taken its place
            self._replay.keys.ask_afresh(names)
            found = await self._looked(exchange, names)
        await self._answers(exchange, found or "idempotency_in_progress")

    def releases(self, exchange: Exchange) -> None:
        """The request is over: what left as its answer is kept."""
        assert exchange.claim is not None
        answer = None if exchange.recorder is None else exchange.recorder.answer()
        if answer is not None and not _binds(exchange, answer):
            answer = None
        self._replay.keys.release(exchange.claim, exchange.request, answer)


def _code_of(fault: Fault, request: Request) -> str:
    """What *request*, which has waited for *fault* to pass, is told: the same as of one of its own
    queries. What can be written down instead is: that it waited in vain is all that counts then."""
    full = fault.category is Category.OVERLOAD and request.patience_s is None
    return "overloaded" if full else "database_unavailable"


def _looked_at(asked: asyncio.Future[Kept | str | None]) -> None:
    """That it failed is no news to one whose wait was over before."""
    if not asked.cancelled():
        asked.exception()


def _binds(exchange: Exchange, answer: Kept) -> bool:
    """Whether *answer* is that of its key from now on.

    One that another attempt may turn is, where something was committed: there is no other attempt then.
    A refusal that a run from the journal was given is the operation's answer, not that of its key: an
    admin may have it run again, and so may its client. What was committed with it binds all the same.
    What was said of writes that were lost meanwhile binds nobody.
    """
    if exchange.request.lost_its_writes:
        return False
    commit = exchange.request.ledger.commit
    if RERUN in exchange.scope:
        applied = commit not in (Commit.NONE, Commit.ROLLED_BACK)
        return is_final(answer.status) and (answer.status < 400 or applied)
    marker = exchange.request.marker
    marked = marker is not None and marker.database is not None
    return is_final(answer.status) or (marked and commit is Commit.COMMITTED)
