"""What an application says of a refusal, without a trace of the secrets that it was given.

Its words may quote a value whole, in another case, decoded, or in pieces. When in doubt too much is hidden.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from holdfast.faults.redact import redact_text
from holdfast.settings.report import is_secret

_MASK = "***"
_RUN = 4  # characters in a row that a word shares with a secret only when it was made from it
_END = 2  # and of a word that is nothing but a secret's beginning or end
_WORD = re.compile(r"[^\s'\"()\[\]{}<>,;:=]+")
_OF_LENGTH = re.compile(r"char|letter|long|length|byte|digit|symbol|sign|short", re.IGNORECASE)
_SPLIT = re.compile(r"[@:/?#,]")  # where a library may cut a password that is not encoded
_FOLDERS = frozenset({"PWD", "OLDPWD"})  # of the shell: no passwords
_NO_SECRETS = frozenset({"true", "false", "yes", "no", "on", "off", "none", "null"})


def masked(words: str, secrets: Iterable[str]) -> str:
    """*words* without any of *secrets*: as they are, in another case, stripped, quoted or decoded."""
    forms = {form for one in secrets for form in _forms(one)}
    for form in sorted(forms, key=len, reverse=True):
        # A very short one is part of many words that have nothing to do with it.
        edge = r"\b" if len(form) < _RUN and form.isalnum() else ""
        words = re.sub(f"{edge}{re.escape(form)}{edge}", _MASK, words, flags=re.IGNORECASE)
    return words


def without_traces(words: str, secrets: Collection[str]) -> str:
    """*words*, made while the program ran, without any of *secrets*, their pieces and their lengths."""
    told = tuple(one for one in secrets if set(_forms(one)))
    words = masked(words, told)
    forms = {form.lower() for one in told for form in _forms(one)}
    runs = {form[at : at + _RUN] for form in forms for at in range(len(form) - _RUN + 1)}

    def piece(found: re.Match[str]) -> str:
        word = found[0].lower()
        of_it = any(word[at : at + _RUN] in runs for at in range(len(word) - _RUN + 1))
        plain = word.strip(".!?*…")
        end = len(plain) >= _END and any(one.startswith(plain) or one.endswith(plain) for one in forms)
        return _MASK if of_it or end else found[0]

    words = _WORD.sub(piece, words)
    if _OF_LENGTH.search(words):
        lengths = {str(len(one)) for one in (*told, *forms)}
        words = re.sub(r"\d+", lambda found: _MASK if found[0] in lengths else found[0], words)
    return words


def passwords(text: str) -> Iterator[str]:
    """The password in *text*, if it is a URL that has one; and what a library makes of it that ends the
    credentials at an earlier `@`, or takes a part of it for the port."""
    _, scheme, rest = text.partition("://")
    if not scheme or "@" not in rest:
        return
    # One with a slash in it is no password to the standard library, but it is to databases.
    whole = rest.rpartition("@")[0].partition(":")[2]
    yield whole
    yield from (one for one in _SPLIT.split(whole) if len(one) >= _END)
    with contextlib.suppress(ValueError):
        yield urlsplit(text).password or ""


def secrets_in(environ: Mapping[str, str]) -> Iterator[str]:
    """The values of *environ* that are secrets by their name, and the passwords of its URLs."""
    for name, value in environ.items():
        yield from passwords(value)
        if is_secret(name) and name not in _FOLDERS:
            yield value


def told_without_secrets(words: str, environ: Mapping[str, str]) -> str:
    """*words* of an exception that nobody foresaw, redacted, and without any secret of *environ*.

    What a URL shows beside its password hides nothing: `postgres:postgres@` is a name, told everywhere.
    """
    shown = {one for value in environ.values() for one in _beside_password(value)}
    return redact_text(masked(words, [one for one in secrets_in(environ) if one not in shown]))


def _beside_password(text: str) -> Iterator[str]:
    scheme, found, rest = text.partition("://")
    if found and "@" in rest:
        yield from (scheme, *scheme.split("+"), rest.partition(":")[0], rest.rpartition("/")[2])


def _forms(secret: str) -> Iterator[str]:
    """*secret* as text may quote it; nothing of what is a yes or a no."""
    for one in (secret, unquote(secret), unquote_plus(secret), quote(secret), quote_plus(secret)):
        for form in (one, one.strip(), repr(one)[1:-1]):
            if form.strip() and form.strip().lower() not in _NO_SECRETS:
                yield form
