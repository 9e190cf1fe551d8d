"""What a journal promises, whatever it is stored in.

Calls return futures that are settled in a thread of the journal's own, so that both a server's
loop (`asyncio.wrap_future`) and a command line (`.result()`) can use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final, Protocol

from holdfast.work.entry import Backlog, Entry, Holder, New, Outcome, State


class JournalError(Exception):
    """The journal could not do it; the message names the place, what is wrong and what to do."""


class JournalFullError(JournalError):
    """Its bound, or its disk, has no room."""


class JournalUnusableError(JournalError):
    """It cannot be opened: a newer version, no right to write, not a journal."""


class JournalInaccessibleError(JournalUnusableError):
    """This user has no right to it, or may not even see whether it is there."""


LET_GO: Final = (State.DONE, State.FAILED)  # when room is needed, in this order; nothing else ever is


def no_room_told(place: object, taken: int, bound: int, size: int) -> str:
    """What is said when letting go of all that is finished would not make the room."""
    return (
        f"the journal {place} holds {taken} of the {bound} bytes it may, and this request takes {size}; what"
        " waits, runs or is dead is not let go; raise HOLDFAST_JOURNAL_MAX_BYTES, or drop any dead one"
    )


class Journal(Protocol):
    """Stores entries durably. All methods may be called from any thread, until `close`."""

    place: str  # for people: a path, or a redacted URL

    def accept(self, new: New) -> Future[int]:
        """Store *new*; its number. Durable (fsync) when the future is done.

        Where its bound leaves no room, what is done is let go, oldest first, then what failed; nothing
        of it if there is no room all the same.

        Raises through the future: JournalFullError, JournalError. Accepting the same `new.name` again
        gives the number it has.
        """
        ...

    def lease(self, most: int, holder: Holder, until: float, now: float) -> Future[list[Entry]]:
        """Up to *most* entries to run now, oldest first, given to *holder* until *until*.

        An entry is free when it is pending and `not_before` has passed, or running with a lease
        that ran out or whose holder's process is known to be gone. At most one entry of an
        `order` is given out at a time, and only the oldest one that is not finished. What is taken
        back from anybody but *holder* has one more in `interruptions`; `finish` says how many it has.
        """
        ...

    def renew(self, numbers: Sequence[int], holder: Holder, until: float) -> Future[list[int]]:
        """Prolong leases; the numbers that *holder* still holds."""
        ...

    def finish(self, number: int, holder: Holder, outcome: Outcome, now: float) -> Future[bool]:
        """Write down what became of an entry; False, and nothing, when *holder* does not hold it."""
        ...

    def find(self, name: str) -> Future[Entry | None]:
        """The entry of that name."""
        ...

    def backlog(self) -> Future[Backlog]:
        """What waits, and how much room is taken. In constant time, however many entries wait."""
        ...

    def listed(self, state: State | None, most: int, after: int = 0) -> Future[list[Entry]]:
        """Up to *most* entries with a number above *after*, oldest first."""
        ...

    def entry(self, number: int) -> Future[Entry | None]:
        """The entry of that number."""
        ...

    def retry(self, number: int) -> Future[bool]:
        """Make a failed or dead entry pending again, attempts from the beginning; whether it was one.

        Its cause stays: that it has failed before decides what an effect of it means.
        """
        ...

    def drop(self, number: int) -> Future[bool]:
        """Remove an entry that is not running; whether there was one."""
        ...

    def prune(self, before: float) -> Future[int]:
        """Remove what was done or failed before that moment; how many."""
        ...

    def close(self) -> None:
        """Finish what was asked and let go."""
        ...
