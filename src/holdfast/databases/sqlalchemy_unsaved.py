"""What an ORM session is to save and has not sent yet: known before an answer leaves.

`session.add(order)` sends nothing. Where a dependency commits after its endpoint has answered, the
answer would acknowledge what no database has heard of, and nothing else would tell us: the request
has sent no statement yet.
"""

from __future__ import annotations

import sys
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from holdfast.context import REQUEST

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, SessionTransaction

_EVENT = "after_transaction_create"
_listening: list[Any] = []


def listen() -> None:
    """Note the sessions that requests use from now on. Nothing until the ORM is imported; idempotent."""
    if not _listening and "sqlalchemy.orm" in sys.modules:
        from sqlalchemy.orm import Session

        event.listen(Session, _EVENT, _begun)
        _listening.append(Session)


def stop_listening() -> None:
    """Note none any more."""
    while _listening:
        event.remove(_listening.pop(), _EVENT, _begun)


def _begun(session: Session, transaction: SessionTransaction) -> None:
    request = REQUEST.get()
    if request is not None and transaction.parent is None and not request.safe:
        request.ledger.unsaved.append(partial(_has_unsaved, weakref.ref(session)))


def _has_unsaved(reference: weakref.ref[Session]) -> bool:
    session = reference()
    if session is None:
        return False
    try:
        return bool(session.new or session.dirty or session.deleted)
    except RuntimeError:  # somebody works on it, in a thread
        return True
