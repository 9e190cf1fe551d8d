"""An exception in one line that may be shown: its kind and its text, redacted and bounded."""

from __future__ import annotations

from holdfast.faults.redact import redact_text

LONGEST = 300


def said(error: BaseException) -> str:
    """*error* in one redacted line of about `LONGEST` characters; silence is called by its name."""
    text = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, TimeoutError) and not text:
        return "no answer in time"
    return redact_text(f"{type(error).__name__}: {text}" if text else type(error).__name__)
