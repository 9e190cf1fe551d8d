"""Names of variables that applications use for their own: what is not understood there stops nobody.

Not among them: `HOLDFAST_*`, which are ours alone; where we listen; the pool and its
encryption (`DB_*`) and who sees the diagnostics, where a default in place of what was meant does harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COMMAND_LINE = "command line"

OTHERWISE: Mapping[str, str] = {
    "APP_ENV": "production",
    "PORT": "the server listens where it was told to",
    "DATABASE_URL": "databases are reached as the application makes their engines",
    "MAX_RETRY_ATTEMPTS": "3",
    "RETRY_BASE_DELAY_MS": "100",
    "REQUEST_TIMEOUT_MS": "30000",
    "CLIENT_URL": "our own answers allow the origins that the application allows",
    "LOG_FORMAT": "human on a terminal, json elsewhere",
    "LOG_LEVEL": "info",
    "LOG_DIR": "no folder is made",
    "UPLOAD_DIR": "no folder is made",
}
"""What holds when the variable of this name is not understood."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A variable that the application may have meant for itself; `wrong` finishes "NAME ..."."""

    name: str
    wrong: str
    otherwise: str
    source: str = ""


def may_be_theirs(name: str, source: str, *, listens: bool) -> bool:
    """Whether the value of *name* may have been meant for the application, where we do or do not *listen*."""
    if source == COMMAND_LINE or (listens and name == "PORT"):
        return False
    return name in OTHERWISE
