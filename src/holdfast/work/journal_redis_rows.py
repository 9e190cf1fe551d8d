"""From entries to what the journal in Redis stores, and back; sealed when there is a key.

A stored text is one kind byte, then lengths and bytes. What is sealed is bound to its entry.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from holdfast.work.entry import Answer, Entry, New, State
from holdfast.work.journal import JournalError
from holdfast.work.journal_sqlite_rows import holder_of
from holdfast.work.sealing import SALT_BYTES, Seal

_PLAIN: Final = b"\x00"
_SEALED: Final = b"\x01"
_LENGTH: Final = struct.Struct(">I")
_PROOF: Final = b"holdfast"


class DamagedEntryError(JournalError):
    """A stored request or answer cannot be read."""


class Rows:
    """Packs and unpacks, with the journal's key when it has one."""

    __slots__ = ("_seal",)

    def __init__(self, seal: Seal | None) -> None:
        self._seal = seal

    def request(self, new: New) -> bytes:
        """A request as it is stored."""
        about = json.dumps([new.key, new.order, new.method, new.target, new.client])
        return self._closed([about.encode(), *_flat(new.headers), new.body], f"request {new.name}")

    def answer(self, number: int, answer: Answer) -> bytes:
        """An answer as it is stored."""
        parts = [str(answer.status).encode(), *_flat(answer.headers), answer.body]
        return self._closed(parts, f"answer {number}")

    def entry(self, row: Sequence[bytes | None]) -> Entry:
        """The entry of number, state, request and answer. Raises DamagedEntryError."""
        number, standing, request, answer = row
        assert number is not None
        assert standing is not None
        if request is None:
            raise DamagedEntryError(f"entry {int(number)} cannot be read: its request is gone")
        one: dict[str, Any] = json.loads(standing)
        try:
            return Entry(
                number=int(number),
                new=self._new(one, request),
                state=State(one["state"]),
                attempts=int(one["attempts"]),
                interruptions=int(one.get("interruptions", 0)),
                not_before=float(one["not_before"]),
                leased_until=float(one["leased_until"]),
                holder=holder_of(one["holder"]) if "holder" in one else None,
                answer=None if answer is None else self._answer(int(number), answer),
                cause=one["cause"],
                finished_at=float(one["finished_at"]) if "finished_at" in one else None,
            )
        except (ValueError, struct.error) as error:
            raise DamagedEntryError(f"entry {int(number)} cannot be read: {error}") from error

    @property
    def sealed(self) -> bool:
        """Whether there is a key."""
        return self._seal is not None

    def proof(self) -> bytes | None:
        """What only our key opens, to begin a seal with; None without a key that may."""
        if self._seal is None or not self._seal.begins:
            return None
        return self._seal.seal(_PROOF, b"proof")

    def adopt(self, proof: bytes | None) -> bool:
        """Whether our key opens the journal's *proof*; if so we seal with its salt from now on."""
        if proof is None:
            return True
        if self._seal is None:
            return False
        try:
            fits = self._seal.open(proof, b"proof") == _PROOF
        except ValueError:
            return False
        self._seal = self._seal.salted(proof[:SALT_BYTES])
        return fits

    def _new(self, one: dict[str, Any], request: bytes) -> New:
        about, *pairs, body = self._opened(request, f"request {one['name']}")
        key, order, method, target, client = json.loads(about)
        return New(
            name=one["name"],
            key=key,
            order=order,
            method=method,
            target=target,
            headers=_paired(pairs),
            body=body,
            client=client,
            journaled_at=float(one["at"]),
        )

    def _answer(self, number: int, stored: bytes) -> Answer:
        status, *pairs, body = self._opened(stored, f"answer {number}")
        return Answer(int(status), _paired(pairs), body)

    def _closed(self, parts: Sequence[bytes], belongs_to: str) -> bytes:
        packed = b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))
        if self._seal is None:
            return _PLAIN + packed
        return _SEALED + self._seal.seal(packed, belongs_to.encode())

    def _opened(self, stored: bytes, belongs_to: str) -> Iterator[bytes]:
        packed = stored[1:]
        if stored[:1] == _SEALED:
            if self._seal is None:
                raise ValueError("it is sealed, and HOLDFAST_JOURNAL_KEY is not set")
            packed = self._seal.open(packed, belongs_to.encode())
        at = 0
        while at < len(packed):
            (length,) = _LENGTH.unpack_from(packed, at)
            at += _LENGTH.size + length
            yield packed[at - length : at]


def _flat(pairs: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    return [part for pair in pairs for part in pair]


def _paired(parts: Sequence[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(zip(parts[::2], parts[1::2], strict=True))
