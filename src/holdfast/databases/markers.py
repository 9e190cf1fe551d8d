"""The table of markers: one row for each transaction of a keyed unit of work, in its transaction.

The text of every statement stands here, for PostgreSQL and SQLite; who runs them on what
connection is somebody else's story. Parameters are written `?` and put into the driver's own
style once. Many rows go in and out as one JSON text, so that a statement is prepared once however
many there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson

TABLE = "holdfast_idempotency"
KEEP_S = 86400
PRUNE_AT_ONCE = 10_000
# What speaks against the table for good: no right, no such thing, read-only, not supported.
_SPOILING = frozenset({"25006", "3D000", "0A000"})
_SPOILING_CLASSES = frozenset({"42", "3F"})
_SPOILING_SQLITE = re.compile(r"readonly|no such|has no column|unable to open|not a database", re.IGNORECASE)
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Kept:
    """A first answer. `body` is None when it was too long to be kept; `size` is what it had."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    size: int


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept under a key: its first marker, with the answer if there is one."""

    fingerprint: str
    age_s: float
    answer: Kept | None


@dataclass(frozen=True, slots=True)
class Written:
    """An answer to be kept under a key."""

    key: str
    fingerprint: str
    answer: Kept


class Statements:
    """The statements of one dialect, for a table in *schema* (None: where unqualified names lead)."""

    def __init__(self, backend: str, paramstyle: str, schema: str | None) -> None:
        self.backend = backend
        put: Callable[[str], str] = lambda text: _in_style(text, paramstyle)  # noqa: E731
        postgresql = backend == "postgresql"
        words = {
            "{fresh}": _FRESH,
            "{old}": "old" if postgresql else TABLE,
            "{table}": TABLE if schema is None else f"{_quoted(schema)}.{TABLE}",
            "{keep_s}": str(KEEP_S),
            "{at_once}": str(PRUNE_AT_ONCE),
        }
        texts = _POSTGRESQL if postgresql else _SQLITE
        every = {name: put(_filled(text, words)) for name, text in texts.items()}
        self.exists = every["exists"]
        self.create = [every[name] for name in ("create", "index") if name in every]
        self.mark = every["mark"]
        self.look = every["look"]
        self.keep = every["keep"]
        self.prune = every["prune"]
        self.where = every.get("where")


_COLUMNS = """key text NOT NULL, number integer NOT NULL, fingerprint text NOT NULL,
 created_at {moment}, status integer, headers text, body text, body_size integer,
 PRIMARY KEY (key, number)"""
_MARK = "INSERT INTO {table} (key, number, fingerprint) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_FRESH = """ON CONFLICT (key, number) DO UPDATE SET status = excluded.status, headers = excluded.headers,
 body = excluded.body, body_size = excluded.body_size
 WHERE {old}.status IS NULL AND {old}.fingerprint = excluded.fingerprint"""

# An answer lost in a crash was only a copy, so that nobody waits for the disk. For that transaction only:
# behind a pooler in transaction mode what is set for a session is set for whoever comes next.
_POSTGRESQL = {
    "where": "SELECT current_schema()",
    "exists": "SELECT status FROM {table} LIMIT 0",
    "create": "CREATE TABLE IF NOT EXISTS {table} ("
    + _COLUMNS.replace("{moment}", "timestamptz NOT NULL DEFAULT clock_timestamp()")
    + ")",
    "index": f"CREATE INDEX IF NOT EXISTS {TABLE}_created_at ON {{table}} USING brin (created_at)",
    "mark": _MARK,
    "look": """SELECT key, fingerprint, CAST(extract(epoch FROM now() - created_at) AS float8),
 status, headers, body, body_size FROM {table}
 WHERE key = ANY(ARRAY(SELECT json_array_elements_text(CAST(? AS json)))) ORDER BY number DESC""",
    "keep": """INSERT INTO {table} AS old (key, number, fingerprint, status, headers, body, body_size)
 SELECT key, 0, fingerprint, status, headers, body, body_size FROM json_to_recordset(CAST(? AS json))
 AS new(key text, fingerprint text, status int, headers text, body text, body_size int),
 set_config('synchronous_commit', 'off', true) {fresh}""",
    "prune": """DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table}
 WHERE created_at < now() - interval '{keep_s} seconds' LIMIT {at_once}))""",
}
_SQLITE = {
    "exists": "SELECT status FROM {table} LIMIT 0",
    "create": "CREATE TABLE IF NOT EXISTS {table} ("
    + _COLUMNS.replace("{moment}", "real NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400)")
    + ")",
    "mark": _MARK,
    "look": """SELECT key, fingerprint, (julianday('now') - 2440587.5) * 86400 - created_at,
 status, headers, body, body_size FROM {table}
 WHERE key IN (SELECT value FROM json_each(?)) ORDER BY number DESC""",
    "keep": """INSERT INTO {table} (key, number, fingerprint, status, headers, body, body_size)
 SELECT json_extract(value, '$.key'), 0, json_extract(value, '$.fingerprint'),
 json_extract(value, '$.status'), json_extract(value, '$.headers'), json_extract(value, '$.body'),
 json_extract(value, '$.body_size') FROM json_each(?) WHERE true {fresh}""",
    "prune": """DELETE FROM {table} WHERE created_at < (julianday('now') - 2440587.5) * 86400 - {keep_s}""",
}


def spoils(code: str | None, text: str) -> bool:
    """Whether a failure (its SQLSTATE, its text) speaks against the table, and not of the moment.

    In doubt no: without the table the same key would be run twice.
    """
    if code and not code.startswith("SQLITE"):
        return code in _SPOILING or code[:2] in _SPOILING_CLASSES
    return _SPOILING_SQLITE.search(text) is not None


def asked(keys: Iterable[str]) -> tuple[str]:
    """The parameter of `look`."""
    return (orjson.dumps(list(keys)).decode(),)


def found(rows: Iterable[Any]) -> dict[str, Row]:
    """What `look` found, by key: the row of the lowest number, which comes last and bears the answer."""
    return {row[0]: Row(row[1], float(row[2]), _answer(*row[3:7])) for row in rows}


def written(answers: Iterable[Written]) -> tuple[str]:
    """The parameter of `keep`."""
    return (orjson.dumps([_record(one) for one in answers]).decode(),)


def _record(one: Written) -> Mapping[str, Any]:
    answer = one.answer
    return {
        "key": one.key,
        "fingerprint": one.fingerprint,
        "status": answer.status,
        "headers": orjson.dumps(answer.headers).decode(),
        # Bytes one to one, and never a NUL, which PostgreSQL's text cannot hold.
        "body": None if answer.body is None else answer.body.hex(),
        "body_size": answer.size,
    }


def _answer(status: int | None, headers: str | None, body: str | None, size: int | None) -> Kept | None:
    if status is None:
        return None
    pairs = tuple((name, value) for name, value in orjson.loads(headers or "[]"))
    return Kept(status, pairs, None if body is None else bytes.fromhex(body), size or 0)


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    return text


def _quoted(name: str) -> str:
    return name if _PLAIN.match(name) else '"' + name.replace('"', '""') + '"'


def _in_style(text: str, paramstyle: str) -> str:
    match paramstyle:
        case "qmark":
            return text
        case "numeric_dollar":
            numbers = count(1)
            return re.sub(r"\?", lambda _: f"${next(numbers)}", text)
        case _:
            return text.replace("%", "%%").replace("?", "%s")
