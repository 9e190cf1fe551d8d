"""The one question: is it safe to run this request again?

Everything that decides stands in `may_run_again`; the code that runs requests only fills in the
record. The order in which things went wrong never matters, only what is known now.

    commit        safe method   other, keyed   other, no key
    none          yes           yes            only if nothing was sent
    rolled back   yes           yes            no (something was sent)
    sent          no            no             no
    unknown       no            no             no
    committed     yes           no             no

and never once a byte of the answer left, nor when the body was not kept whole.
Safe methods are those of RFC 9110, section 9.2.1; the key is the `Idempotency-Key` header of
draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Commit(Enum):
    """What is known of the writes of one attempt, the worst over all its transactions."""

    NONE = "none"
    SENT = "sent"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one attempt at a request when it has failed, or would fail now."""

    safe: bool
    keyed: bool
    sent: bool
    commit: Commit
    started: bool = False
    body_whole: bool = True


def may_run_again(known: Known) -> bool:
    """Whether running the request again, whole, can neither lose nor double an effect."""
    if known.started or not known.body_whole:
        return False
    match known.commit:
        case Commit.SENT | Commit.UNKNOWN:
            return False
        case Commit.COMMITTED:
            return known.safe
        case Commit.NONE | Commit.ROLLED_BACK:
            return known.safe or known.keyed or not known.sent


def worst(one: Commit, other: Commit) -> Commit:
    """The commit state of an attempt that had a transaction end in each of the two."""
    return max(one, other, key=_GRAVITY.__getitem__)


_GRAVITY = {
    Commit.NONE: 0,
    Commit.ROLLED_BACK: 1,
    Commit.COMMITTED: 2,
    Commit.SENT: 3,
    Commit.UNKNOWN: 4,
}
