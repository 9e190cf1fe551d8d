"""Transactions of PostgreSQL told by their numbers, where no marker tells them (`pg_xact_status`).

A number lasts as long as its server. What a crash takes off the disk takes its numbers along, and they are
given out again: of a server that was started since, "committed" may be said of somebody else's. Whether it
was is told by moments, which may differ for other reasons too (somebody has reset the statistics): so
what follows from a difference holds for the same server as well.

    the number is              the server is the same   it was started since
    committed                  committed                unknown
    aborted                    rolled back              rolled back
    in progress                it is asked again        it is asked again: somebody else's will end, too
    forgotten (too old)        unknown                  unknown
    not given out yet          unknown                  rolled back; of a standby: unknown
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from holdfast.faults.classify import classify
from holdfast.policy.replay import Commit

if TYPE_CHECKING:
    from holdfast.databases.sqlalchemy_session import OwnSession

# Recovery from a crash discards the statistics: also where only a server process had crashed. In seconds, for
# the text of a moment depends on what a session has set (TimeZone, DateStyle).
_SERVER = """concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()),
 (SELECT extract(epoch FROM stats_reset) FROM pg_stat_bgwriter))"""
NUMBER = f"SELECT CAST(pg_current_xact_id_if_assigned() AS text), {_SERVER}"
_STATE = f"SELECT {_SERVER}, pg_is_in_recovery()"
_IN_THE_FUTURE = "22023"
_ASK_EACH_S = 0.05


class Numbered(NamedTuple):
    """A transaction's number, and the server that gave it."""

    number: str
    server: str


async def ask(session: OwnSession, numbered: Numbered) -> Commit:
    """What became of the transaction *numbered*, as far as the server can know; raises what the driver
    raises."""
    while True:
        rows, _ = await session.run(_STATE)
        server, standby = rows[0]
        same = server == numbered.server
        end = judge(await _status(session, numbered.number), same=same, standby=standby)
        if end is not None:
            return end
        await asyncio.sleep(_ASK_EACH_S)


def judge(status: str | None, *, same: bool, standby: bool) -> Commit | None:
    """What *status* says of our transaction; None: ask again. See the table above."""
    match status:
        case "aborted":
            return Commit.ROLLED_BACK
        case "committed" if same:
            return Commit.COMMITTED
        case "in progress":
            return None
        case "in the future" if not same and not standby:
            return Commit.ROLLED_BACK
    return Commit.UNKNOWN


async def _status(session: OwnSession, number: str) -> str | None:
    try:
        rows, _ = await session.run(f"SELECT pg_xact_status('{int(number)}'::xid8)")
    except Exception as error:
        if classify(error, database=True).code == _IN_THE_FUTURE:
            return "in the future"
        raise
    status: str | None = rows[0][0]
    return status
