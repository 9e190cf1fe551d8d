"""Opens the journal that the settings name: a file on this machine, or Redis for several."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.events import BUS, Bus
from holdfast.faults.redact import redact_url
from holdfast.work.journal import Journal, JournalUnusableError
from holdfast.work.sealing import Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the journal is, its key and its bound in bytes."""

    folder: Path
    max_bytes: int
    url: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return redact_url(self.url) if self.url else str(self.folder)


def open_journal(
    place: Place, bus: Bus = BUS, *, patience_s: float = 10.0, begins_seal: bool = True
) -> Journal:
    """The journal at *place*, made when it is not there; each call awaits a Redis that is away so long.

    A key seals a journal that was not sealed, for good. Without *begins_seal* that is refused: whoever
    only looks at it must not lock out the server by a key that is mistyped.

    Raises JournalUnusableError: a newer version, another key, no right to write, a missing package.
    """
    seal = Seal(place.key, begins=begins_seal) if place.key else None
    if place.url is None:
        from holdfast.work.journal_sqlite import open_sqlite

        return open_sqlite(place.folder, max_bytes=place.max_bytes, seal=seal, bus=bus)
    try:
        from holdfast.work.journal_redis import open_redis
    except ImportError as error:
        raise JournalUnusableError(
            f"HOLDFAST_JOURNAL_URL is set, and the package {error.name} is not installed; "
            "pip install 'holdfast[redis]', or leave the URL out"
        ) from error
    return open_redis(place.url, max_bytes=place.max_bytes, seal=seal, bus=bus, patience_s=patience_s)


def is_there(place: Place) -> bool:
    """Whether there is a journal at *place* already, as far as this machine can tell.

    Raises JournalUnusableError when it cannot be told: JournalInaccessibleError without the right to look.
    """
    if place.url is not None:
        return True
    from holdfast.work.journal_sqlite import FILE
    from holdfast.work.journal_sqlite_opening import unusable

    path = place.folder / FILE
    try:
        return stat.S_ISREG(path.stat().st_mode)  # `is_file` raises or says no, by Python's version
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(path, error) from error
