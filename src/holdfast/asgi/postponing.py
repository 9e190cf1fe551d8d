"""What becomes of a request that cannot be served now: written down where its route opted in, else refused.

may run again, or marked and in doubt    route opted in        answer
yes                                      yes, room left        202 and where to ask
yes, or only its body is too long        yes, no room for it   503 that says so
no, or no route, or run from the journal                       503 as ever
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from holdfast.asgi.context import path_in
from holdfast.asgi.door import WRITING_S
from holdfast.asgi.exchange import Exchange
from holdfast.asgi.journal_run import SCOPE_KEY as RERUN
from holdfast.asgi.journal_run import Rerun
from holdfast.asgi.journaling import Accepted, Journaling
from holdfast.asgi.types import Scope
from holdfast.context import Request
from holdfast.databases.database import Database

if TYPE_CHECKING:
    from holdfast.asgi.replay import Replay

_POSTPONED: Final = frozenset(
    {
        "database_unavailable",
        "waiting_room_full",
        "commit_outcome_unknown",
        "shutting_down",  # it was held when we were told to stop: the next process runs it
        "starting",  # and the database that the application starts with is away
    }
)


class Postponing:
    """The part of *replay* that concerns the journal. *after_s*: how long requests wait before."""

    __slots__ = ("_after_s", "_journaling", "_place", "_replay")

    def __init__(self, replay: Replay, journaling: Journaling | None, place: str, after_s: float) -> None:
        self._replay = replay
        self._journaling = journaling
        self._place = place
        self._after_s = after_s

    def patience_of(self, scope: Scope) -> float | None:
        """Seconds for which a request of that route waits from now on, where it may be written down.

        It ends before its deadline does: past that it could only be told that it came too late.
        """
        journaling = self._journaling
        if journaling is None or RERUN in scope:
            return None
        if not journaling.takes(scope["method"], path_in(scope)):
            return None
        request: Request = scope["holdfast"]
        left = max(0.0, request.deadline_at - monotonic())
        return min(self._after_s, max(left - WRITING_S, left / 2))

    def concerns(self, exchange: Exchange) -> bool:
        """Whether it may be written down: then it does not wait as long as others, and has a key."""
        patience = self.patience_of(exchange.scope)
        if patience is None:
            return False
        assert self._journaling is not None
        exchange.request.patience_s = patience
        exchange.body.keep(self._journaling.rules.body_bytes)
        return True

    async def give_up(self, exchange: Exchange, code: str, database: Database | None) -> None:
        """It has waited long enough, or cannot be run again here and now."""
        request = exchange.request
        if code == "commit_outcome_unknown":
            safe_later = request.marker is not None
        else:
            safe_later = request.may_run_again(body_kept=True)
        if code not in _POSTPONED or request.started or not safe_later or not self.concerns(exchange):
            await self._replay.refuse(exchange, code, database)
            return
        assert self._journaling is not None
        self._replay.give_up_turns(exchange, answered=False)
        exchange.recorder = None  # what leaves now is not the answer to its key
        accepted = await self._journaling.accept(exchange.scope, request, exchange.body, request.key)
        if accepted is None:
            exchange.ended = True
            self._replay.tell.abandoned(request)
        elif isinstance(accepted, Accepted):
            await self._journaling.answer(exchange, accepted, self._place)
        else:  # a doubt stays what is told: that it could not be kept does not say that nothing happened
            doubt = code == "commit_outcome_unknown"
            await self._replay.refuse(exchange, code if doubt else accepted.code, database)


def told_to_journal(exchange: Exchange, code: str) -> None:
    """A request run from the journal learns that we, not the application, answer it."""
    rerun: Rerun | None = exchange.scope.get(RERUN)
    if rerun is not None:
        rerun.refused(code)
