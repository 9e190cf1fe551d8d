"""What a transaction raises of its own: its outcome is unknown, or its row has changed meanwhile."""

from __future__ import annotations

from typing import Any


class CommitOutcomeUnknown(Exception):  # noqa: N818 - it says what happened
    """The connection was lost at COMMIT, and what became of it could not be found out.

    The transaction may have had its effect: look before running it again. `database` is the name
    it is known by; the driver's error is the cause.
    """

    do_not_retry = True  # whoever retries what passes must not retry this

    def __init__(self, database: str) -> None:
        super().__init__(database)
        self.database = database

    def __str__(self) -> str:
        return (
            f"whether the transaction on {self.database!r} was committed is not known: its connection was "
            "lost at COMMIT; look whether its effect is there before running it again"
        )


class ConcurrentModification(Exception):  # noqa: N818 - it says what happened
    """A row that this transaction changes was changed by another one since it was read.

    `ours` is the row as this transaction wanted it, `theirs` as it stands in the database now, None
    when it is gone (or, says a note, could not be read); `identity` is its primary key. The values
    are whole, so that they can be merged or shown; the message holds none of them.
    """

    do_not_retry = True  # the same change would be made to a row nobody has looked at

    def __init__(
        self,
        table: str,
        identity: tuple[Any, ...],
        ours: dict[str, Any],
        theirs: dict[str, Any] | None,
    ) -> None:
        super().__init__(table, identity, ours, theirs)
        self.table = table
        self.identity = identity
        self.ours = ours
        self.theirs = theirs

    def __str__(self) -> str:
        done = "deleted" if self.theirs is None else "changed"
        return (
            f"a row of {self.table!r} was {done} by another transaction since it was read; "
            "read it again and decide what is to become of the change"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.table!r})"
