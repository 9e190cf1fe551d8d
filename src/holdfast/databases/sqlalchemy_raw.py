"""What an application does past SQLAlchemy: on the driver's own connection, or by a cursor of its own.

    the driver's connection is asked for     anything may happen on it, and nobody sees what
    a cursor that SQLAlchemy did not make    psycopg's in threads: seen, and read as any statement
      sends something
    nothing went through SQLAlchemy on a     whatever was done with it, it was done past us
      connection that is given back

Whatever may have written so is never run again, and no statement after it is taken for the first of
its transaction; the COMMIT behind it is marked like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.context import REQUEST
from holdfast.databases.link import Link
from holdfast.databases.reading import reads_only

if TYPE_CHECKING:
    from holdfast.databases.sqlalchemy_hooks import Hooks


class Past:
    """Books what one engine's application does past SQLAlchemy."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._links = hooks.database.links

    def lending(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What stands in for `get_driver_connection` of the dialect."""
        links = self._links

        def seen(connection: Any) -> Any:
            link = links.get(id(connection))
            if link is not None and link.out:
                self._booked(link)
            return original(connection)

        return seen

    def sending(self, link: Link, statement: Any) -> None:
        """A cursor that SQLAlchemy did not make sends *statement* on *link*."""
        if not link.out:
            return
        if isinstance(statement, str) and reads_only(statement):
            link.sent += 1
        else:
            self._booked(link)

    def given_back(self, link: Link) -> None:
        """*link* returns to its pool."""
        request = link.request
        if not link.seen and request is not None:
            request.ledger.unseen = True

    def _booked(self, link: Link) -> None:
        """Something may be written on *link*."""
        link.sent += 1
        request = REQUEST.get()
        if request is None:
            return
        request.ledger.sent += 1
        request.ledger.unseen = True
        if not request.safe:  # what reads past us may stream its answer
            self._hooks.wrote(link, request)
