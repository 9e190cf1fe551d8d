"""What MySQL's and MariaDB's error numbers mean; no driver of theirs is imported.

PyMySQL, aiomysql, asyncmy and mysqlclient carry the number as their first argument, Oracle's
connector as `errno`. Numbers from 2000 on are the client library's own.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.faults import constraint
from holdfast.faults.category import Fault
from holdfast.faults.table import Table
from holdfast.faults.verdicts import (
    CANCELLED_QUERY,
    CROWDED,
    DUPLICATE,
    EXHAUSTED,
    FORBIDDEN,
    FULL,
    INVALID,
    LOST,
    MISCONFIGURED,
    QUERY,
    RACE,
    REFUSED,
    UNAUTHENTICATED,
)

NUMBERS: dict[int, Fault] = {
    **dict.fromkeys((0, 2002, 2003, 2005), REFUSED),  # closed before, or never connected
    **dict.fromkeys((2006, 2013, 2055), LOST),  # gone away, lost during the query
    **dict.fromkeys(
        (1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927), LOST
    ),  # shutdown, cut, killed
    **dict.fromkeys((1290, 1836), REFUSED),  # the server became read-only
    **dict.fromkeys((1040, 1203, 1226), CROWDED),  # connections
    **dict.fromkeys((1044, 1045, 1698, 3118), UNAUTHENTICATED),
    1049: MISCONFIGURED,  # no such database
    **dict.fromkeys((1205, 1213, 3572), RACE),  # lock wait, deadlock, NOWAIT
    **dict.fromkeys((1317, 1969, 3024), CANCELLED_QUERY),
    **dict.fromkeys((1022, 1062, 1586, 1216, 1217, 1451, 1452), DUPLICATE),  # unique and foreign keys
    **dict.fromkeys((1048, 1364, 3819, 4025), INVALID),  # not null, no default, check
    **dict.fromkeys((1264, 1265, 1292, 1366, 1367, 1406), INVALID),  # data out of range, too long, malformed
    **dict.fromkeys((1142, 1143, 1227, 1370), FORBIDDEN),
    **dict.fromkeys((1021, 1114), FULL),
    **dict.fromkeys((1037, 1038, 1041), EXHAUSTED),
}


def read(exc: BaseException, database: bool = True) -> Fault | None:  # noqa: ARG001 - a server's or its client's
    """The verdict on a driver's exception by its number; None without one."""
    number = getattr(exc, "errno", None) or (exc.args[0] if exc.args else None)
    if not isinstance(number, int):
        return None
    fault = NUMBERS.get(number, QUERY)
    told = str(exc)
    if number == 1290 and "read" not in told:  # of another option of the server
        fault = QUERY
    fields = constraint.in_mysql(told) if fault in _OF_COLUMNS else ()
    return replace(fault, code=str(number), fields=fields)


_OF_COLUMNS = (DUPLICATE, INVALID)
_ERRORS = (
    "pymysql.err.Error",
    "asyncmy.errors.MySQLError",
    "MySQLdb.MySQLError",
    "MySQLdb._exceptions.MySQLError",
    "mysql.connector.errors.Error",
)

TABLE: Table = dict.fromkeys(_ERRORS, read)
