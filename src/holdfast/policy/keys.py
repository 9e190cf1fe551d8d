"""What a request with an `Idempotency-Key` gets, from what is kept under its key. Pure.

The header is draft-ietf-httpapi-idempotency-key-header's: a structured string, with or without
its quotes. `docs/decisions/0007` has the table.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum

LONGEST_KEY = 255
YOUNG_S = 3.0  # a marker without its answer may still get one from another process
_VISIBLE = re.compile(r"[\x20-\x7e\xa1-\xff]+\Z")
_CREDENTIALS = (b"authorization", b"x-api-key", b"cookie")
_NOT_FINAL = frozenset({401, 403, 408, 409, 425, 429})


class Ruling(Enum):
    """What is to be done with a request whose key is known."""

    RUN = "run"
    REPLAY = "replay"
    WAIT = "wait"
    MISMATCH = "mismatch"
    LOST = "lost"


def read_key(raw: bytes) -> tuple[str | None, str]:
    """The key of a header's value, or None and what is wrong with it."""
    text = raw.decode("latin-1").strip(" \t")  # and no more: a stripped control character would be a repair
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not text:
        return None, "is empty"
    if len(text) > LONGEST_KEY:
        return None, f"has {len(text)} characters; {LONGEST_KEY} are the most"
    if not _VISIBLE.match(text):
        return None, "holds control characters"
    return text, ""


def name_of(key: str, method: str, path: str) -> str:
    """What a key is kept under: the same key on another route is another key."""
    return hashlib.sha256("\0".join((method, path, key)).encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint_of(
    method: str,
    path: str,
    query: bytes,
    body: bytes,
    headers: dict[bytes, bytes],
    *,
    whole: bool = True,
) -> str:
    """What two requests with the same key must share: the payload, and the credentials.

    Of a body that is not *whole*, its beginning and its declared length count.
    """
    payload = hashlib.sha256()
    for part in (method.encode(), path.encode("utf-8", "surrogatepass"), query):
        payload.update(part + b"\0")
    length = str(len(body)).encode() if whole else headers.get(b"content-length", b"")
    payload.update(length + b"\0" + body)
    given = next((name + b"=" + headers[name] for name in _CREDENTIALS if name in headers), b"")
    return f"{payload.hexdigest()[:32]}:{hashlib.sha256(given).hexdigest()[:32]}"


def rule(kept: tuple[str, float, bool] | None, fingerprint: str) -> Ruling:
    """*kept* is what is under the key: its fingerprint, its age in seconds, whether it has an answer."""
    if kept is None:
        return Ruling.RUN
    theirs, age_s, answered = kept
    if theirs != fingerprint:
        return Ruling.MISMATCH
    if answered:
        return Ruling.REPLAY
    return Ruling.WAIT if age_s < YOUNG_S else Ruling.LOST


def is_final(status: int) -> bool:
    """Whether an answer stays the answer: 2xx to 4xx, but for those another attempt may turn."""
    return 200 <= status < 500 and status not in _NOT_FINAL
