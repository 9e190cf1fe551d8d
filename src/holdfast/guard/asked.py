"""What the other side asked for with its error: when to come back, or not to come back at all.

Errors are looked at, no library is imported: `error.retry_after`, or the header Retry-After of
`error.response.headers` (httpx, requests) or `error.headers` (aiohttp, urllib). What cannot be read
was not asked.
"""

from __future__ import annotations

import math
import re
from datetime import UTC
from typing import Any

_LONGEST = 64  # characters of a header that are looked at
_SECONDS = re.compile(r"\d{1,64}(?:\.\d{1,64})?", re.ASCII)


def retry_after(error: BaseException, wall: float) -> float | None:
    """The seconds from *wall* (seconds since 1970) that *error* asks to wait; None when it does not say."""
    asked = _seconds(_attribute(error, "retry_after"), wall)
    if asked is not None:
        return asked
    for bearer in (_attribute(error, "response"), error):
        asked = _seconds(_header(_attribute(bearer, "headers")), wall)
        if asked is not None:
            return asked
    return None


def do_not_retry(error: BaseException) -> bool:
    """Whether *error* asks not to be called again."""
    return _attribute(error, "do_not_retry") is True


def _attribute(bearer: object, name: str) -> Any:
    try:
        return getattr(bearer, name, None)
    except Exception:  # noqa: BLE001 - a property may raise what it likes
        return None


def _header(headers: Any) -> object:
    """Retry-After of *headers*, whose names may be of one case only."""
    try:
        for name in ("Retry-After", "retry-after"):
            if (value := headers.get(name)) is not None:
                return value
    except Exception:  # noqa: BLE001 - it is no mapping, or one that does not work
        return None
    return None


def _seconds(value: object, wall: float) -> float | None:
    """*value* as seconds from *wall*: a number, or a header's text; None when it is neither."""
    try:
        if isinstance(value, str):
            return _told(value[:_LONGEST].strip(), wall)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return None if math.isnan(value) else float(value)
    except Exception:  # noqa: BLE001 - a number beyond all floats, a text that is no date
        return None
    return None


def _told(text: str, wall: float) -> float:
    """What a header says, in seconds or as a date. Raises for anything else."""
    if _SECONDS.fullmatch(text):
        return float(text)
    from email.utils import parsedate_to_datetime  # only here, where a date has come

    moment = parsedate_to_datetime(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - wall)
