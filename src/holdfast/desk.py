"""The journal of a process and all that stands round it: opened, given to requests, drained, closed.

no route opted in, no journal left from before   nothing is opened, nothing is run
no route opted in, no right to the one left      the same, and that is told
otherwise                                        one journal, one worker on the server's loop
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.asgi.cors import Cors
from holdfast.asgi.front import Front
from holdfast.asgi.journal_run import Runner
from holdfast.asgi.journaling import Journaling
from holdfast.asgi.journaling import Rules as JournalRules
from holdfast.asgi.operations import Operations
from holdfast.asgi.opted_in import opted_in
from holdfast.databases.adopt import Registry
from holdfast.events import BUS
from holdfast.policy.routes import Routes
from holdfast.settings.settings import Settings
from holdfast.work.backlog import Figures
from holdfast.work.drain import Drain
from holdfast.work.drain import Rules as DrainRules
from holdfast.work.events import JournalInaccessible, JournalUnmarked
from holdfast.work.journal import Journal, JournalInaccessibleError
from holdfast.work.opening import Place, is_there, open_journal

_UNMARKED = (
    "HOLDFAST_IDEMPOTENCY=false, and routes are journaled (HOLDFAST_JOURNAL, @journaled): a run that is cut"
    " off after its COMMIT is run again, and its effect doubled, unless the application itself prevents that"
)


class Desk:
    """Owned by a `Holdfast`. Everything but `open` happens on the server's loop."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.journal: Journal | None = None
        self.figures: Figures | None = None
        self._settings = settings
        self._registry = registry
        self._routes = settings.journal
        self._inaccessible = False  # and that was told
        self._drain: Drain | None = None
        self._forget: list[Callable[[], None]] = []

    def open(self, app: Any) -> str:
        """Open the journal if *app* needs one; its place, or nothing.

        Raises JournalUnusableError.
        """
        self._routes = Routes((*self._routes.names, *opted_in(app)))
        place = place_of_journal(self._settings)
        if self.journal is None:
            self.journal = open_journal(place) if self._routes else self._left_behind(place)
            if self.journal is None:
                return ""
            self.figures = Figures(self.journal)
            if not self._settings.idempotency:
                BUS.publish(JournalUnmarked(place=self.journal.place, cause=_UNMARKED))
        return self.journal.place

    def journaling(self, cors: Cors) -> Journaling | None:
        """What writes requests down; None without a journal."""
        if self.journal is None:
            return None
        settings = self._settings
        return Journaling(
            self.journal,
            self._routes,
            JournalRules(body_bytes=settings.journal_body_bytes, order_by=settings.journal_order_by),
            cors,
            wake=self._wake,
        )

    def operations(self, cors: Cors) -> Operations | None:
        """The page that tells what became of them; None without a journal."""
        return None if self.journal is None else Operations(self.journal, cors)

    def start(self, front: Front) -> None:
        """Begin to run what is written down, through *front*."""
        if self.journal is None or self._drain is not None:
            return
        settings = self._settings
        self._drain = Drain(
            self.journal,
            Runner(front, lambda: front.state),
            self._ready,
            DrainRules(
                concurrency=settings.journal_concurrency,
                attempts=settings.max_retry_attempts,
                longest_s=2 * settings.request_timeout_s + settings.max_wait_s,
            ),
        )
        self._drain.start()
        for database in self._registry:
            self._forget.append(database.listen(lambda _: self._wake()))

    async def stop(self, within: float) -> list[str]:
        """End the worker at a boundary; what had to be given back, by method and path."""
        drain, self._drain = self._drain, None
        while self._forget:
            self._forget.pop()()
        return [] if drain is None else await drain.stop(within, self._cut)

    def close(self) -> None:
        """Let go of the journal."""
        journal, self.journal, self.figures = self.journal, None, None
        if journal is not None:
            journal.close()

    def _left_behind(self, place: Place) -> Journal | None:
        """The journal of routes that are gone from the settings; what waits in it is run."""
        if place.url is not None or self._inaccessible:
            return None
        try:
            return open_journal(place) if is_there(place) else None
        except JournalInaccessibleError as error:  # another user's: no reason not to serve
            self._inaccessible = True
            cause = f"no route is journaled now; what may wait there is not run: {error}"
            BUS.publish(JournalInaccessible(place=str(place), cause=cause))
            return None

    def _cut(self) -> None:
        """End what runs still wait for: their threads would keep the process."""
        for database in self._registry:
            database.end_waits()

    def _ready(self) -> bool:
        return all(one.settled for one in self._registry)

    def _wake(self) -> None:
        if self._drain is not None:
            self._drain.wake()


def place_of_journal(settings: Settings) -> Place:
    """Where *settings* have the journal."""
    return Place(
        folder=settings.state_dir,
        max_bytes=settings.journal_max_bytes,
        url=settings.journal_url,
        key=settings.journal_key,
    )
