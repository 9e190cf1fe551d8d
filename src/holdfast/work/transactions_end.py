"""How an attempt at a transaction ended that raised, and whether it passes. Pure.

COMMIT begun   what the dialect's hook found   its error                        end
no             –                               any                              rolled back
yes            all the same                    any                              that
yes            different ends                  any                              unknown
yes, several   nothing                         any                              unknown
yes, one       nothing                         it had only read                 rolled back
yes, one       nothing                         the server refused               rolled back
yes, one       nothing                         lost, or nobody knows            unknown
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from holdfast.faults.category import Category, Fault, Outcome
from holdfast.policy.replay import Commit


class Phase(Enum):
    """How far an attempt has come."""

    OPENING = "opening"  # it has no connection yet
    WORK = "work"  # the application's own function, or block, runs
    ENDING = "ending"  # COMMIT, and what is flushed before it


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an attempt that raised."""

    commits: int  # COMMITs begun, one for each connection
    only_read: bool  # it has sent something, and nothing that writes
    ends: Sequence[Commit]  # of those COMMITs, as far as the dialect's hook knows
    fault: Fault


def end_of(seen: Seen) -> Commit:
    """What became of it: ROLLED_BACK, COMMITTED or UNKNOWN."""
    if seen.commits == 0:
        return Commit.ROLLED_BACK
    found = set(seen.ends)
    if found:
        return found.pop() if len(found) == 1 else Commit.UNKNOWN
    if seen.commits > 1:
        return Commit.UNKNOWN
    refused = seen.fault.outcome is Outcome.NOT_APPLIED and not seen.fault.lost
    return Commit.ROLLED_BACK if refused or seen.only_read else Commit.UNKNOWN


def is_contention(fault: Fault) -> bool:
    """Whether another transaction was first: serialization failure, deadlock, write conflict, lock."""
    return fault.transient and not fault.lost and fault.category is Category.CONFLICT


def passes(fault: Fault, *, ours: bool) -> bool:
    """Whether a fresh attempt may succeed. *ours*: the error came out of the transaction's own database.

    What another service did to the work is not ours to repeat: only its caller knows how.
    """
    return is_contention(fault) or (ours and fault.transient)
