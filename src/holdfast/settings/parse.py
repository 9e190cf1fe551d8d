"""From the text of a variable to a value: every reader returns it or says what is wrong.

A `ValueError` of these readers finishes the sentence "NAME ..." and never holds the text that was
read: whether that may be shown is decided by whoever knows if it is a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.policy.routes import Routes, UnknownMethodError

_WHOLE = re.compile(r"[+-]?[0-9]{1,15}", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,12})\s*([kmg]?)(i?b)?", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9.-]*(\+[a-z0-9_.-]+)?", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Words of other libraries, each for the nearest one of Python's.
_LEVELS = {
    "warn": "warning",
    "fatal": "critical",
    "trace": "debug",
    "notset": "debug",
    "notice": "info",
    "success": "info",
}
APP_ENVS = ("development", "staging", "production", "test")
_APP_ENVS = {
    "dev": "development",
    "develop": "development",
    "local": "development",
    "stage": "staging",
    "prod": "production",
    "testing": "test",
}
_NUMBERED = ("debug", "debug", "info", "warning", "error", "critical")  # 10 is debug, 20 is info
_HUMAN = frozenset({"console", "text", "plain", "pretty"})
_DURATION = re.compile(r"([0-9]{1,12})\s*(ms|s|min|h)", re.ASCII)
# Whoever means "never" writes a large number; beyond this clocks overflow, and PostgreSQL refuses.
_LONGEST_MS = 2**31 - 1
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}

SECRET_LENGTH = 32

# Compared without case, hyphens, underscores and spaces. The first must match whole, the others begin.
_PLACEHOLDERS = frozenset(
    ("secret", "supersecret", "mysecret", "topsecret", "password", "default", "example", "test")
)
_PLACEHOLDER_BEGINNINGS = (
    "changeme",
    "changethis",
    "replaceme",
    "replacewith",
    "devsecret",
    "devonly",
    "yoursecret",
    "yourjwtsecret",
    "yoursupersecret",
    "supersecretkey",
    "examplesecret",
    "testsecret",
    "insertsecret",
    "djangoinsecure",
    "fastapiinsecure",
)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of *known* that *word* was probably meant to be, or None."""
    import difflib  # only a mistake pays for it

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def text(given: str) -> str:
    """Any text, without the spaces round it."""
    return given.strip()


def boolean(given: str) -> bool:
    """true or false, and the usual other words for them."""
    word = given.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("must be true or false")


def whole(least: int, most: int | None = None, unit: str = "") -> Callable[[str], int]:
    """A reader of whole numbers from *least* to *most*."""
    kind = f"a whole number{f' of {unit}' if unit else ''}"

    def read(given: str) -> int:
        if not _WHOLE.fullmatch(given.strip()):
            raise ValueError(f"must be {kind}")
        value = int(given)
        if most is not None and not least <= value <= most:
            raise ValueError(f"must be {kind} from {least} to {most}")
        if value < least:
            raise ValueError(f"must be {kind}, at least {least}")
        return value

    return read


def milliseconds(least: int) -> Callable[[str], float]:
    """A reader of milliseconds, 24 days of them at most, that returns seconds."""
    count = whole(least, unit="milliseconds")

    def read(given: str) -> float:
        value = count(given)
        if value > _LONGEST_MS:
            raise ValueError(f"must be a whole number of milliseconds, at most {_LONGEST_MS} (24 days)")
        return value / 1000

    return read


def statement_timeout(given: str) -> float:
    """Milliseconds, or a number with a unit as PostgreSQL has it (`30s`, `5min`), in seconds."""
    found = _DURATION.fullmatch(given.strip().lower())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else whole(0, unit="milliseconds")(given) / 1000
    if seconds * 1000 > _LONGEST_MS:
        raise ValueError(f"must be at most {_LONGEST_MS} ms (0: no limit)")
    return seconds


def attempts(given: str) -> int:
    """How often something is tried; none at all cannot be meant, and is one."""
    return max(1, whole(0)(given))


def folder(given: str) -> Path:
    """A folder of this machine."""
    if "://" in given:
        raise ValueError("must be a folder, not an address")
    return Path(given.strip())


def size(given: str) -> int:
    """A number of bytes; k, m and g mean 1024 of the unit below."""
    found = _SIZE.fullmatch(given.strip().lower())
    if found is None:
        raise ValueError("must be a number of bytes such as 65536, 64k or 256m")
    return int(found[1]) * _UNITS[found[2]]


def choice(*words: str) -> Callable[[str], str]:
    """A reader of one of *words*, whatever their case."""
    listed = f"{', '.join(words[:-1])} or {words[-1]}"

    def read(given: str) -> str:
        word = given.strip().lower()
        if word in words:
            return word
        near = nearest(word, words)
        raise ValueError(f"must be {listed}" + (f"; did you mean {near}?" if near else ""))

    return read


class MistypedError(ValueError):
    """What was meant is plain: it is nobody's own word."""


def app_env(given: str) -> str:
    """One of the four environments, and the usual other words for them. Raises `MistypedError` for a slip."""
    word = given.strip().lower()
    try:
        return choice(*APP_ENVS)(_APP_ENVS.get(word, word))
    except ValueError as error:
        near = nearest(word, (*APP_ENVS, *_APP_ENVS), cutoff=0.8)
        if near and word.isalpha():
            listed, _, _ = str(error).partition(";")
            raise MistypedError(f"{listed}; did you mean {near}?") from None
        raise


def log_format(given: str) -> str:
    """human or json, and the usual other words for the first."""
    word = given.strip().lower()
    return "human" if word in _HUMAN else choice("human", "json")(word)


def level(given: str) -> str:
    """A level of Python's logging, in lower case; a number is the level below it."""
    word = given.strip().lower()
    if re.fullmatch("[0-9]{1,3}", word, re.ASCII):
        return _NUMBERED[min(int(word) // 10, len(_NUMBERED) - 1)]
    return choice("debug", "info", "warning", "error", "critical")(_LEVELS.get(word, word))


def ssl_mode(given: str) -> str:
    """One of PostgreSQL's six words; true means `require` and false `disable`."""
    word = given.strip().lower()
    if word in _TRUE:
        return "require"
    if word in _FALSE:
        return "disable"
    if word in _SSL_MODES:
        return word
    raise ValueError(f"must be true, false or one of {', '.join(_SSL_MODES)}")


def url(*schemes: str, host: bool = True) -> Callable[[str], str]:
    """A reader of URLs of *schemes*, or of any; a driver may follow as in `postgresql+asyncpg`.

    *host* says whether one must be named.
    """

    def read(given: str) -> str:
        value = given.strip()
        scheme, colon, rest = value.partition("://")
        if not colon or not _SCHEME.fullmatch(scheme.lower()) or any(sign.isspace() for sign in value):
            raise ValueError(f"must be a URL such as {schemes[0] if schemes else 'scheme'}://host/name")
        _check_scheme(scheme.lower().partition("+")[0], schemes)
        _check_authority(value)
        if host and not rest.partition("/")[0].rpartition("@")[2]:
            raise ValueError("must name a host after ://")
        return value

    return read


def _check_scheme(scheme: str, schemes: tuple[str, ...]) -> None:
    if not schemes or scheme in schemes:
        return
    near = nearest(scheme, schemes)
    raise ValueError(
        f"must begin with {'://, '.join(schemes[:4])}://" + (f"; did you mean {near}://?" if near else "")
    )


def _check_authority(value: str) -> None:
    # Several hosts in one URL (`a:5432,b:5432`) are a URL to databases, but not to urllib.
    authority = value.partition("://")[2].partition("/")[0].partition("?")[0]
    if authority.count("@") > 1:
        # Libraries disagree which of them ends the password: to some its rest is the port, which they quote.
        raise ValueError("must have one @ before its host; write @ : / # in a password as %40 %3A %2F %23")
    if "," in authority.rpartition("@")[2]:
        return
    try:
        urlsplit(value).port  # noqa: B018 - the property is the check
    except ValueError:
        # Not the library's own words: they quote what it took for the port, often half of a password.
        raise ValueError(
            "must have a port from 0 to 65535 after its host; write @ : / # in a password as %40 %3A %2F %23"
        ) from None


def origins(given: str) -> str:
    """One or more http(s) URLs, separated by commas."""
    if "*" in given:
        raise ValueError("must name each origin: our answers allow credentials, and nobody may to any (*)")
    read = url("http", "https")
    return ",".join(read(one) for one in given.strip().strip(",").split(","))


def redis_url(given: str) -> str:
    """A URL of a Redis server."""
    return url("redis", "rediss", "unix", host=False)(given)


def identifier(given: str) -> str:
    """A name that SQL takes without quotes."""
    name = given.strip()
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError("must be a name of letters, digits and underscores, 63 at most")
    return name


def header(given: str) -> str:
    """The name of one header."""
    name = given.strip()
    if not _TOKEN.fullmatch(name):
        raise ValueError("must be the name of one header, such as X-User")
    return name


def routes(given: str) -> Routes:
    """Routes, separated by commas."""
    try:
        return Routes.written(one.strip() for one in given.split(",") if one.strip())
    except UnknownMethodError as error:
        hint = f"; did you mean {error.meant}?" if error.meant else ""
        raise ValueError(f"must begin with a known method, such as POST /orders{hint}") from None
    except ValueError:
        raise ValueError("must be routes such as POST /orders, separated by commas") from None


def weakness(secret: str) -> str | None:
    """What is wrong with *secret* in production, without a word of it; None when it will do."""
    plain = re.sub(r"[-_\s]", "", secret.strip().lower())
    if plain in _PLACEHOLDERS or plain.startswith(_PLACEHOLDER_BEGINNINGS):
        return "is a known placeholder: anyone can guess it"
    if len(secret) < SECRET_LENGTH:
        return f"is shorter than {SECRET_LENGTH} characters"
    return None
