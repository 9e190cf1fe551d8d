"""While the application is imported: a connection that it needs there is waited for, as a start does.

An import that failed cannot be repeated: modules stay half made, and what they registered elsewhere
stays registered. So the hooks ask here before they let a failed connection out. The owner of the
count of attempts is `Importing`.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.databases.adopt import Registry
from holdfast.databases.database import Database
from holdfast.events import BUS, Bus
from holdfast.faults.classify import classify
from holdfast.runtime.reach import Patience, attempted, delay_after, failure, is_hopeless
from holdfast.settings.failure import Exit, StartFailure

SOON_S = 0.2  # between attempts that do not end: whoever develops waits for the first moment

Absent = Callable[[Database, Exception], None]


class ImportEnded(BaseException):
    """We were told to stop while the application was imported."""


class Importing:
    """One import. With *absent* there is no last attempt; it is called once for each absent database."""

    def __init__(
        self,
        registry: Registry,
        patience: Patience,
        dice: random.Random,
        absent: Absent | None = None,
        bus: Bus = BUS,
    ) -> None:
        self._registry = registry
        self._patience = patience
        self._dice = dice
        self._absent = absent
        self._bus = bus
        self._attempts: Counter[Database] = Counter()
        self._failures: list[tuple[Exception, StartFailure]] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """From here to there connections are waited for. Raises `ImportEnded` after `end`, and the failure
        of a database in place of what the application made of it."""
        self._registry.importing = self
        try:
            yield
        except StartFailure as failed:
            if self._ended.is_set():  # what it has failed of may be our doing
                raise ImportEnded from failed
            raise self._behind(failed) from failed.__cause__
        finally:
            self._registry.importing = None
            self._failures.clear()  # with the frames of half open connections

    def end(self) -> None:
        """We are told to stop: nothing is waited for any more. From any thread."""
        self._ended.set()
        for database in self._registry if self._registry.importing is self else ():
            database.dismiss()
            for opening in list(database.connecting.values()):
                if opening.login:
                    opening.end()

    # ---- for the hooks --------------------------------------------------------------------------

    def pause(self, database: Database, error: Exception) -> float | None:
        """Seconds after which a connection that failed with *error* is tried again; None: let it fail.

        Raises `ImportEnded` when the start is to end.
        """
        if self._ended.is_set():
            raise ImportEnded from error
        fault = classify(error, database=True)
        if isinstance(error, TypeError) or not (fault.lost or fault.transient or is_hopeless(error)):
            return None  # nothing that we know of databases: the application's line is told instead
        with self._lock:
            self._attempts[database] += 1
            attempt = self._attempts[database]
        if self._absent is not None and not is_hopeless(error):
            if attempt == 1:
                self._absent(database, error)
            return SOON_S
        last = attempt >= self._patience.attempts or is_hopeless(error)
        delay = None if last else delay_after(attempt, self._dice)
        if attempt <= self._patience.attempts:  # after that the application tries on its own account
            self._bus.publish(attempted(database, error, attempt, self._patience, delay))
        if delay is None:
            self._failures.append((error, failure(database, error, fault, attempt)))
        return delay

    def rest(self, seconds: float) -> None:
        """Block this thread for so long, or until the start is to end."""
        self._ended.wait(seconds)

    # ---- afterwards -----------------------------------------------------------------------------

    def _behind(self, failed: StartFailure) -> StartFailure:
        """The failure of the database that *failed* comes of, else *failed* itself."""
        behind = {id(one) for one in _chain(failed.__cause__)}
        for error, found in reversed(self._failures):
            if id(error) in behind:
                return found
        if self._failures and failed.exit_status == Exit.SOFTWARE and any(one.away for one in self._registry):
            failed.exit_status = int(Exit.UNAVAILABLE)
        return failed


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """*error*, and what it was raised from or while handling."""
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left += [one.__cause__, one.__context__]
