"""Credentials in URLs: ``postgresql://app:***@db:5432/shop``.

A password that was not encoded may hold `/`, `#`, `?` and `@`. So what lies between the first colon
and the last `@` is taken for one wherever that can be, and a host may be hidden with it.
"""

from __future__ import annotations

import re

_END = re.compile(r"""[\s"'<>]""")
_BLANK = re.compile(r"""[ \t][^\r\n"'<>@]{0,64}@(?=[\w.\[-])""")
_PORT = re.compile(r"\d{1,5}(?=\W|$)")
_SCHEME = re.compile(r"[A-Za-z0-9+.-]{1,32}\Z")
_PAGES = frozenset({"http", "https", "ws", "wss", "ftp", "git"})
_TO_AUTHORITY_END = re.compile(r"[^/?#]*+")


def mask_urls(text: str, mask: str) -> str:
    """*text* with the credentials of all its URLs masked."""
    kept, at = [], 0
    while (found := text.find("://", at)) >= 0:
        stop = _rest_end(text, found + 3)
        scheme = _SCHEME.search(text[max(0, found - 32) : found])
        rest = text[found + 3 : stop]
        kept += [text[at : found + 3], _masked(scheme[0].lower() if scheme else "", rest, mask)]
        at = stop
    return "".join([*kept, text[at:]])


def _rest_end(text: str, start: int) -> int:
    """Where the URL ends whose part after ``://`` begins at *start*: past blanks that its password holds."""
    end = _END.search(text, start)
    stop = end.start() if end else len(text)
    if text.find("@", stop, stop + 70) < 0 or "@" in text[start:stop] or not _has_password(text[start:stop]):
        return stop
    blank = _BLANK.match(text, stop)
    end = _END.search(text, blank.end()) if blank else end
    return end.start() if end else len(text)


def mask_url(url: str, mask: str) -> str:
    """*url*, all of it one URL, whatever characters it holds, with its credentials masked."""
    scheme, found, rest = url.partition("://")
    if found:
        return f"{scheme}://{_masked(scheme.rpartition(':')[2].lower(), rest, mask)}"
    user, at, host = url.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{name}:{mask}@{host}" if at and colon else url


def _masked(scheme: str, rest: str, mask: str) -> str:
    """*rest*, the part of one URL after its ``://``."""
    at = _credentials_end(scheme, rest)
    if at < 0:
        return _unfinished(rest, mask)
    user, colon, _ = rest[:at].partition(":")
    if colon:
        return f"{user}:{mask}{rest[at:]}"
    return (
        f"{mask}{rest[at:]}" if scheme in _PAGES else rest
    )  # a name alone is a key to a page, not to a database


def _credentials_end(scheme: str, rest: str) -> int:
    """The index of the `@` that ends the credentials; -1 when there are none."""
    if scheme not in _PAGES:
        return rest.rfind("@")
    authority = _TO_AUTHORITY_END.match(rest)
    end = authority.end() if authority else len(rest)
    inside = rest.rfind("@", 0, end)
    if inside >= 0 or not _has_password(rest[:end]):
        return inside
    return rest.rfind("@")


def _unfinished(rest: str, mask: str) -> str:
    """A password that a quote or a space cut off before its `@`."""
    authority = _TO_AUTHORITY_END.match(rest)
    whole = authority[0] if authority else rest
    return f"{whole.partition(':')[0]}:{mask}" if _has_password(whole) else rest


def _has_password(authority: str) -> bool:
    """Whether what follows the first colon of *authority* can be no port."""
    name, colon, after = authority.partition(":")
    return bool(colon and after) and not name.startswith("[") and not _PORT.match(after)
