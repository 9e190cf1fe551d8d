"""Every database of the process: found by the libraries' hooks, named, given to a watch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from holdfast.context import Request
from holdfast.databases.database import Database, Driver
from holdfast.databases.watch import Watch
from holdfast.events import BUS, DatabaseFound


@dataclass(frozen=True, slots=True)
class PoolRules:
    """Defaults for pools and connections that an application left to its library; seconds."""

    active: bool = False  # hooks without a Holdfast leave every default of the library alone
    size: int = 20
    keep: int = 2
    acquire_timeout: float = 10.0
    idle: float = 30.0
    max_age: float = 7200.0
    connect_timeout: float = 10.0
    statement_timeout: float = 30.0
    ssl: str | None = None
    hide_parameters: bool = False


@dataclass(frozen=True, slots=True)
class MarkerRules:
    """Whether and where the transactions of keyed work are marked."""

    active: bool = False  # without a Holdfast nothing is written into anybody's database
    schema: str | None = None
    commit_status: bool = False  # commits without a marker are asked about by their number


class Importing(Protocol):
    """The import of an application by a start that is under way. From any thread."""

    def pause(self, database: Database, error: Exception) -> float | None:
        """Seconds after which a connection that failed with *error* is tried again; None: let it fail.

        Raises, past every `except Exception`, when the start is to end.
        """
        ...

    def rest(self, seconds: float) -> None:
        """Block this thread for so long, or until the start is to end."""
        ...


class Registry:
    """The databases of this process. Hooks add to it from any thread."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.rules = PoolRules()
        self.markers = MarkerRules()
        self.patience_s: float | None = None
        self.importing: Importing | None = None
        self._listeners: tuple[Callable[[Database], None], ...] = ()
        self._by_place: dict[tuple[object, ...], Database] = {}
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Database]:
        return iter(list(self._by_place.values()))

    def __len__(self) -> int:
        return len(self._by_place)

    def get(self, name: str) -> Database | None:
        """The database of that name."""
        return next((one for one in self if one.name == name), None)

    def adopt(
        self, place: tuple[object, ...], name: str, target: str, make: Callable[[], Driver]
    ) -> Database:
        """The database at *place*, made known under *name* (or `name-2`…) if it is new."""
        driver = make()
        with self._lock:
            database = self._by_place.get(place)
            new = database is None
            if database is None:
                database = Database(self._free(name), target, driver)
                database.patience_s = self.patience_s
                self._by_place[place] = database
            else:
                # one store: the watch reads the first at any moment
                database.drivers = [*(one for one in database.drivers if not one.provisional), driver]
        if self.watch is not None:
            self.watch.add(database)
        for listener in self._listeners if new else ():
            listener(database)
        BUS.publish(DatabaseFound(database=database.name, target=target, library=driver.library))
        return database

    def listen(self, listener: Callable[[Database], None]) -> Callable[[], None]:
        """Call *listener* with every database found from now on, in its finder's thread."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return stop

    def cancel(self, request: Request) -> None:
        """Have the servers end the statements that threads of *request* wait for."""
        for database in self:
            for link in list(database.links.values()):
                if link.request is request:
                    link.cancel()

    def rename(self, database: Database, name: str) -> None:
        """Make *database* known under *name*; raises ValueError when another one is."""
        with self._lock:
            holder = self.get(name)
            if holder is not None and holder is not database:
                message = f"the name {name!r} belongs to {holder.target}; give {database.target} another"
                raise ValueError(message)
            database.name = name

    def watched_by(self, watch: Watch | None, patience_s: float | None = None) -> None:
        """From now on *watch* looks after all of them, those to come too.

        Work outside requests waits *patience_s* seconds for one that is away; None: for ever.
        """
        self.watch = watch
        self.patience_s = patience_s
        for database in self:
            database.patience_s = patience_s
            database.dismissed = False
            if watch is None:
                database.watched_by(None)
            else:
                watch.add(database)

    def _free(self, name: str) -> str:
        taken = {one.name for one in self._by_place.values()}
        if name not in taken:
            return name
        number = 2
        while f"{name}-{number}" in taken:
            number += 1
        return f"{name}-{number}"


REGISTRY = Registry()
