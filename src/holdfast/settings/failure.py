"""Why a start ended: which phase, what is wrong, what to do about it."""

from __future__ import annotations

from enum import IntEnum
from textwrap import indent


class Exit(IntEnum):
    """Exit statuses of a start that failed, as sysexits.h names them."""

    NO_INPUT = 66
    UNAVAILABLE = 69
    SOFTWARE = 70
    CANNOT_CREATE = 73
    CONFIG = 78


class StartFailure(Exception):  # noqa: N818 - it names what happened
    """A start that cannot go on; `str()` of it is what the user reads.

    `description` and `action` may have several lines. Neither holds a secret: whoever raises
    this has redacted them.
    """

    def __init__(self, phase: str, description: str, action: str, exit_status: int) -> None:
        super().__init__(phase, description, action, exit_status)
        self.phase = phase
        self.description = description
        self.action = action
        self.exit_status = int(exit_status)

    def __str__(self) -> str:
        return (
            f"holdfast could not start: {self.phase}\n\n"
            f"Description:\n{indent(self.description, '  ')}\n\n"
            f"Action:\n{indent(self.action, '  ')}"
        )
