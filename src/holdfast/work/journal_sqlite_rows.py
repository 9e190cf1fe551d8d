"""From entries to rows of the SQLite journal and back: bytes with lengths before them, and a checksum.

What is sealed is sealed here, so that nothing else of the journal knows whether there is a key.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from holdfast.work.entry import Answer, Entry, Holder, New, State
from holdfast.work.journal import JournalError

_PLAIN: Final = b"\x00"
_SEALED: Final = b"\x01"
_LENGTH: Final = struct.Struct(">I")

COLUMNS: Final = """
    s.number, r.name, r.key, r.ordering, r.method, r.client, r.journaled_at, r.content, r.checksum,
    s.state, s.attempts, s.not_before, s.leased_until, s.holder, s.cause, s.finished_at,
    a.content, a.checksum, ifnull(i.times, 0)
"""
TABLES: Final = (
    "standings s LEFT JOIN requests r ON r.number = s.number LEFT JOIN answers a ON a.number = s.number"
    " LEFT JOIN interruptions i ON i.number = s.number"
)


class Sealing(Protocol):
    """Seals and opens, each bound to what it belongs to."""

    def seal(self, plain: bytes, belongs_to: bytes) -> bytes:
        """*plain*, readable only with the key and together with *belongs_to*."""
        ...

    def open(self, sealed: bytes, belongs_to: bytes) -> bytes:
        """What was sealed. Raises ValueError when it was not, or not for *belongs_to*."""
        ...


class DamagedRowError(JournalError):
    """A stored request or answer is not what was written."""


class Rows:
    """Packs and unpacks, with the journal's key when it has one."""

    __slots__ = ("_sealing",)

    def __init__(self, sealing: Sealing | None) -> None:
        self._sealing = sealing

    def request(self, number: int, new: New) -> tuple[bytes, int]:
        """The content of a request, and its checksum."""
        parts = [new.target.encode("latin-1"), *(part for pair in new.headers for part in pair)]
        binding = _binding("request", number, new.name)
        content = self._closed(_packed([*parts, new.body]), binding)
        return content, _checksum(binding, new.key, new.order, new.method, content)

    def answer(self, number: int, name: str, answer: Answer) -> tuple[bytes, int]:
        """The content of an answer, and its checksum."""
        parts = [str(answer.status).encode(), *(part for pair in answer.headers for part in pair)]
        binding = _binding("answer", number, name)
        content = self._closed(_packed([*parts, answer.body]), binding)
        return content, _checksum(binding, content)

    def entry(self, row: Sequence[Any]) -> Entry:
        """The entry of a row of `COLUMNS`. Raises DamagedRowError when it is not what was written."""
        number, name, key, order, method, client, journaled_at, content, checksum, *standing = row
        state, attempts, not_before, leased_until, holder, cause, finished_at, *more = standing
        answered, answers_checksum, interruptions = more
        if name is None:
            raise DamagedRowError(f"the request of entry {number} is missing")
        if not intact_request(number, name, key, order, method, content, checksum):
            raise DamagedRowError("its request is not what was written (the checksum differs)")
        target, headers, body = self._opened(content, _binding("request", number, name))
        new = New(name, key, order, method, target.decode("latin-1"), headers, body, client, journaled_at)
        answer = None
        if answered is not None:
            binding = _binding("answer", number, name)
            if _checksum(binding, answered) != answers_checksum:
                raise DamagedRowError("its answer is not what was written (the checksum differs)")
            status, fields, payload = self._opened(answered, binding)
            answer = Answer(int(status), fields, payload)
        return Entry(
            number=number,
            new=new,
            state=State(state),
            attempts=attempts,
            interruptions=interruptions,
            not_before=not_before,
            leased_until=leased_until,
            holder=None if holder is None else holder_of(holder),
            answer=answer,
            cause=cause,
            finished_at=finished_at,
        )

    def listed(self, row: Sequence[Any]) -> Entry:
        """As `entry`; of one that is damaged only where it stands, so that it can be seen and dropped."""
        try:
            return self.entry(row)
        except DamagedRowError as error:
            name, key, order, method = ("" if one is None else str(one) for one in row[1:5])
            new = New(name, key, order, method, "", (), b"", row[5], row[6] or 0.0)
            return Entry(
                row[0], new, State(row[9]), row[10], cause=row[14] or str(error), finished_at=row[15]
            )

    def _closed(self, plain: bytes, binding: bytes) -> bytes:
        sealing = self._sealing
        return _PLAIN + plain if sealing is None else _SEALED + sealing.seal(plain, binding)

    def _opened(self, content: bytes, binding: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...], bytes]:
        """First part, pairs, and last part."""
        kind, rest = content[:1], content[1:]
        if kind == _SEALED:
            if self._sealing is None:
                raise DamagedRowError("it is sealed, and HOLDFAST_JOURNAL_KEY is not set")
            try:
                rest = self._sealing.open(rest, binding)
            except ValueError as error:
                raise DamagedRowError(f"it cannot be unsealed: {error}") from error
        first, *pairs, last = _parts(rest)
        return first, tuple(zip(pairs[::2], pairs[1::2], strict=True)), last


def intact_request(
    number: int, name: str, key: str, order: str, method: str, content: bytes, checksum: int
) -> bool:
    """Whether the row of a request is what was written: SQLite has no checksums, a bad page must not run."""
    return _checksum(_binding("request", number, name), key, order, method, content) == checksum


def _checksum(*parts: bytes | str) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.encode() if isinstance(part, str) else part, checksum)
    return checksum


def sealed_part(content: bytes) -> bytes | None:
    """What was sealed, as it is stored; None for what was written without a key."""
    return content[1:] if content[:1] == _SEALED else None


def request_binding(number: int, name: str) -> bytes:
    """What the sealed request of an entry is bound to."""
    return _binding("request", number, name)


def weight(answer: Answer | None) -> int:
    """Bytes that an answer counts for in the bound of the journal."""
    if answer is None:
        return 0
    return len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)


def text_of(holder: Holder) -> str:
    """A holder as one comparable text."""
    return json.dumps([holder.incarnation, holder.host, holder.pid, holder.started_at])


def holder_of(text: str) -> Holder:
    """The reverse of `text_of`."""
    incarnation, host, pid, started_at = json.loads(text)
    return Holder(incarnation, host, pid, started_at)


def _binding(kind: str, number: int, name: str) -> bytes:
    return f"holdfast journal 1 {kind} {number} {name}".encode()


def _packed(parts: Sequence[bytes]) -> bytes:
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def _parts(packed: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        (length,) = _LENGTH.unpack_from(packed, at)
        at += _LENGTH.size + length
        yield packed[at - length : at]
