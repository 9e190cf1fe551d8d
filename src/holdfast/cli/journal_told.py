"""Journaled requests as people read them, and as lines of JSON for other programs. Secrets are masked."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from holdfast.faults.redact import redact, redact_headers, redact_text
from holdfast.work.entry import Answer, Backlog, Entry, State

HEADINGS: Final = ("number", "state", "method", "path", "age", "attempts", "cause")
_LONGEST_CAUSE = 60
_LONGEST_PATH = 60
_FORM = "application/x-www-form-urlencoded"

Headers = Sequence[tuple[bytes, bytes]]


def table(entries: Sequence[Entry], now: float) -> str:
    """One line for each of *entries*, under headings; no bodies, no queries."""
    rows = [HEADINGS, *(_row(entry, now) for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def summary(backlog: Backlog, max_bytes: int | None = None) -> str:
    """How many there are of each state, and the room they take."""
    known = ((state.value, backlog.by_state.get(state.value, 0)) for state in State)
    counts = ", ".join(f"{count} {name}" for name, count in known if count)
    bound = f" of {size(max_bytes)}" if max_bytes is not None else ""
    return f"{counts or 'empty'}; {size(backlog.stored_bytes)}{bound}"


def sheet(entry: Entry, now: float) -> str:
    """All of *entry* but its secrets."""
    new = entry.new
    lines = [
        f"number       {entry.number}",
        f"state        {entry.state.value}",
        f"request      {new.method} {redact_text(new.target)}",
        f"client       {new.client or '-'}",
        f"journaled    {moment(new.journaled_at)} ({age(now - new.journaled_at)} ago)",
        f"attempts     {entry.attempts}",
        f"order        {new.order[:12]}",
        f"key          {new.key}",
    ]
    if entry.interruptions:
        lines.append(f"interrupted  {entry.interruptions} times in a row by the end of its process")
    if entry.cause:
        lines.append(f"cause        {redact_text(entry.cause)}")
    if entry.finished_at is not None:
        lines.append(f"finished     {moment(entry.finished_at)}")
    if entry.holder is not None and entry.state is State.RUNNING:
        lines.append(f"run by       process {entry.holder.pid} on {entry.holder.host}")
    lines += ["", *_shown(new.headers, new.body)]
    if entry.answer is not None:
        lines += [
            "",
            f"answer       {entry.answer.status}",
            "",
            *_shown(entry.answer.headers, entry.answer.body),
        ]
    return "\n".join(lines)


def record(entry: Entry, *, raw: bool) -> str:
    """*entry* as one line of JSON; *raw* is exactly what was sent, secrets and all."""
    new = entry.new
    answer = entry.answer
    told: dict[str, Any] = {
        "number": entry.number,
        "state": entry.state.value,
        "method": new.method,
        "target": new.target if raw else redact_text(new.target),
        "headers": _headers(new.headers, raw=raw),
        **_body(new.headers, new.body, raw=raw),
        "client": new.client,
        "key": new.key,
        "order": new.order,
        "journaledAt": moment(new.journaled_at),
        "attempts": entry.attempts,
        "interruptions": entry.interruptions,
        "cause": entry.cause if raw else redact_text(entry.cause),
        "finishedAt": moment(entry.finished_at) if entry.finished_at is not None else None,
        "answer": _answer(answer, raw=raw) if answer is not None else None,
    }
    return json.dumps(told, ensure_ascii=False)


def age(seconds: float) -> str:
    """A duration as people say it: `42s`, `7m`, `3h`, `2d`."""
    left = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= 2 * length or (length > 60 and left >= length):
            return f"{left // length}{unit}"
    return f"{left}s"


def size(count: int) -> str:
    """Bytes as people say them."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"


def moment(at: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# ---- inside -----------------------------------------------------------------------------------------


def _row(entry: Entry, now: float) -> tuple[str, ...]:
    path = redact_text(entry.new.target.partition("?")[0])
    return (
        str(entry.number),
        entry.state.value,
        entry.new.method,
        _cut(path, _LONGEST_PATH),
        age(now - entry.new.journaled_at),
        str(entry.attempts),
        _cut(redact_text(entry.cause), _LONGEST_CAUSE),
    )


def _cut(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _shown(headers: Headers, body: bytes) -> list[str]:
    lines = [f"{name}: {value}" for name, value in redact_headers(_sent(headers)).items()]
    told = _masked(headers, body)
    if isinstance(told, dict | list):
        told = json.dumps(told, indent=2, ensure_ascii=False)
    return [*lines, "", str(told)] if body else lines


def _answer(answer: Answer, *, raw: bool) -> dict[str, Any]:
    headers = _headers(answer.headers, raw=raw)
    return {"status": answer.status, "headers": headers, **_body(answer.headers, answer.body, raw=raw)}


def _headers(headers: Headers, *, raw: bool) -> Any:
    if not raw:
        return redact_headers(_sent(headers))
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _body(headers: Headers, body: bytes, *, raw: bool) -> dict[str, Any]:
    if not raw:
        return {"body": _masked(headers, body)}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"bodyBase64": base64.b64encode(body).decode()}


def _masked(headers: Headers, body: bytes) -> object:
    """*body* without its secrets: JSON and forms by their names, text by its shape, else its length."""
    if not body:
        return None
    kind = {name.lower(): value for name, value in headers}.get(b"content-type", b"").decode("latin-1")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"<{len(body)} bytes>"
    if kind.partition(";")[0].strip() == _FORM:
        return redact([{name: value} for name, value in parse_qsl(text, keep_blank_values=True)])
    try:
        return redact(json.loads(text))
    except ValueError:
        return redact_text(text)


def _sent(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Without what we noted of how it was sent."""
    return [(name, value) for name, value in headers if not name.startswith(b":")]
