"""Pings on the connections of one engine's pool: the application's own (`pool_pre_ping`), and ours.

SQLAlchemy pings before it tells anybody of a checkout. So the dialect's `do_ping` is wrapped: a ping that
is never answered is a symptom like any other statement, and can be ended, for it carries nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from sqlalchemy import exc

from holdfast.context import REQUEST
from holdfast.databases.database import Database
from holdfast.databases.link import LOOK_AFTER_S, Link

PING_AFTER_S = 1.0


class Pings:
    """Sees the pings of one engine, and sends those that are due. *networked*: there is a wire to test."""

    def __init__(self, database: Database, *, networked: bool) -> None:
        self._database = database
        self._networked = networked

    def seen(self, original: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """What stands in for `do_ping` of the dialect. Raises `DisconnectionError`, upon which the pool
        opens another, for a connection of the past and one that was ended while it was pinged."""
        database = self._database
        links = database.links

        def ping(connection: Any) -> bool:
            link = links.get(id(connection))
            if link is None or link.out:  # the watch's own, or none of the pool's doing
                return original(connection)
            self.refuse_past(link)
            link.pinging, link.request = True, REQUEST.get()
            link.began = monotonic()
            try:
                alive = original(connection)
            except Exception as error:
                if link.cut:  # a verdict on this connection alone: it is no loss of the database
                    raise exc.DisconnectionError from error
                raise
            finally:
                link.began, link.pinging, link.request = 0.0, False, None
            if link.cut:  # SQLAlchemy before 2.1 says so instead of raising
                raise exc.DisconnectionError
            if alive:
                database.heard_at = link.used_at = monotonic()
            return alive

        return ping

    def refuse_past(self, link: Link) -> None:
        """Raise `DisconnectionError` for a connection of before an outage, or one that the kernel knows to
        be dead: no round trip."""
        database = self._database
        gone = link.cut or (monotonic() - link.used_at > LOOK_AFTER_S and link.is_gone())
        if gone or link.generation != database.generation or database.away:
            link.abort()
            raise exc.DisconnectionError

    def if_due(self, link: Link, dialect: Any, connection: Any) -> None:
        """Ping a connection that has lain idle for long; raises `DisconnectionError` if it is dead."""
        if not self._networked or monotonic() - link.used_at <= PING_AFTER_S:
            return
        try:
            alive = dialect.do_ping(connection)
        except Exception as error:
            link.abort()
            raise exc.DisconnectionError from error
        if not alive:  # the same: of one that the other side has ended
            link.abort()
            raise exc.DisconnectionError
