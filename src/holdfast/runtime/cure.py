"""What to do about a database that could not be reached at startup, by what its error says.

Most errors mean that it is away, or not yet there. The mistakes of this file are the other kind:
how we are told to connect is wrong, and that stays so however long one waits.
"""

from __future__ import annotations

import re

from holdfast.faults.category import Fault

_UNENCRYPTED = (
    "The server takes no connection like this without encryption. Ask for it: DB_SSL=require, or in the URL\n"
    "ssl=require (asyncpg) or sslmode=require (psycopg); or let the server's pg_hba.conf allow it."
)
_MISTAKES = (
    (
        re.compile(r"unexpected keyword argument|invalid connection option|invalid uri query parameter"),
        (
            "The driver knows no parameter of that name. It stands behind the ? of the database URL, or in\n"
            "connect_args: asyncpg takes ssl=, not sslmode=; psycopg takes sslmode=, not ssl=."
        ),
    ),
    (
        re.compile(r"rejected ssl upgrade|does not support ssl"),
        (
            "The server offers no SSL, and DB_SSL or the database URL (ssl=, sslmode=) requires it.\n"
            "Switch it on in the server, or ask for prefer, which does without where there is none."
        ),
    ),
    (
        re.compile(r"root certificate|certificate verify failed"),
        (
            "The server's certificate cannot be checked. Name the file of its root certificate:\n"
            "  PGSSLROOTCERT=/path/to/root.crt\n"
            "Or ask for require in DB_SSL or the database URL, which encrypts and checks nothing."
        ),
    ),
    (
        re.compile(r"invalid sslmode|sslmode\W+(parameter|value)"),
        "Correct it in the database URL: disable, allow, prefer, require, verify-ca or verify-full.",
    ),
    (
        re.compile(r"invalid value for parameter|unrecognized configuration parameter"),
        (
            "The server refuses a parameter of the connection: correct it in the database URL,\n"
            "in connect_args or in DB_STATEMENT_TIMEOUT."
        ),
    ),
)
_MISTAKEN = "Correct how the engine is told to connect: the database URL, its connect_args or its creator."
_ABSENT = (
    "Start the database, or check host and port in the database URL.\n"
    "To start without it and hold requests until it appears: HOLDFAST_START_WITHOUT_DATABASE=true.\n"
    "To wait longer: HOLDFAST_CONNECT_ATTEMPTS=20."
)


def is_mistake(error: BaseException) -> bool:
    """Whether *error* says that we connect in a wrong way, to a database that may well be there."""
    return _mistake(error) is not None


def cure(error: BaseException, fault: Fault) -> str:
    """The next step of whoever started the server and was told *error*."""
    text = str(error).lower()
    match fault.code:
        case "28000" if "no encryption" in text or "ssl off" in text:
            return _UNENCRYPTED
        case "28P01" | "28000":
            return (
                "The server refused the user or the password. Check both in the database URL\n"
                "(DATABASE_URL, or the variables your application builds it from), or create the role:\n"
                "  CREATE ROLE name LOGIN PASSWORD '…';"
            )
        case "3D000":
            return (
                "The server has no database of that name. Check the end of the database URL, or create it:\n"
                "  createdb NAME     (or: CREATE DATABASE name;)"
            )
        case "53300":
            return "The server has no connection left. Raise max_connections, or lower DB_POOL_MAX."
    if "name or service not known" in text or "getaddrinfo" in text or "resolve" in text:
        return "The host name in the database URL is not known here. Check its spelling and your DNS."
    return _mistake(error) or _ABSENT


def _mistake(error: BaseException) -> str | None:
    text = str(error).lower()
    found = next((advice for pattern, advice in _MISTAKES if pattern.search(text)), None)
    # A driver that is called in a wrong way has not asked anybody yet.
    return found or (_MISTAKEN if isinstance(error, TypeError) else None)
