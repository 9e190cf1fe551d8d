"""Secrets inside text, found by what they look like or by the name before them.

Total and linear: a pattern never fails after an unbounded run, so no text makes it slow. Most lines
hold nothing, which a few searches for substrings find out.
"""

from __future__ import annotations

import re
from base64 import b64decode
from functools import lru_cache

from holdfast.faults.cards import mask_cards
from holdfast.faults.rows import mask_quoted, mask_rows
from holdfast.faults.rules import DEFAULT_RULES, Rules
from holdfast.faults.urls import mask_urls

# A line holds none of these, nearly always. Lower case, and each as rare as can be.
_NAMES = (
    "pass", "pwd", "psw", "secret", "token", "auth", "cookie", "key", "cred", "card", "cvv", "cvc", "csc",
    "ssn", "iban", "otp", "jwt", "sid=", "sid:", "sid\"", "sid'", "pin=", "pin:", "pin\"", "pin'", "pin_code",
    "bearer", "session", "security", "account", "connection",
    "srf", "ccn", "cc_n", "cc-n", "sig",
)  # fmt: skip
_TOKENS = (
    "eyj", "akia", "asia", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_", "xox", "aiza", "sk_", "rk_",
    "sk-", "glpat", "npm_", "sg.", "hf_", "ya29", "shp", "pypi-", "pk_", "whsec_",
)  # fmt: skip
_TOKEN = re.compile(
    r"eyJ(?<![\w-]eyJ)[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?"  # JSON web token
    r"|A(?:KIA|SIA)(?<!\w....)[0-9A-Z]{16}(?!\w)"  # Amazon
    r"|gh[pousr]_(?<!\w....)[A-Za-z0-9]{20,}+"  # GitHub
    r"|github_pat_\w{20,}+"
    r"|glpat-[\w-]{16,}+"
    r"|xox[abeoprs]-[\w-]{10,}+"  # Slack
    r"|AIza[\w-]{30,}+"  # Google
    r"|ya29\.[\w-]{10,}+"
    r"|[srp]k_(?<!\w...)(?:live|test)_\w{8,}+"  # Stripe
    r"|whsec_[\w+/=]{16,}+"  # what its messages, and those of others, are signed with
    r"|sk-(?<!\w...)[\w-]{20,}+"  # OpenAI, Anthropic
    r"|npm_\w{30,}+"
    r"|hf_(?<!\w...)\w{30,}+"
    r"|SG\.[\w-]{16,}+\.[\w-]{16,}+"  # SendGrid
    r"|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{24,}+"  # Shopify
    r"|pypi-[\w-]{40,}+"
)
_BEARER = re.compile(
    r"\b(bearer|basic)(\s{1,8})"
    r"(?!(?:auth|authentication|authorization|tokens?|scheme|credentials?)(?![\w.~+/=-]))([\w.~+/=-]{8,}+)",
    re.IGNORECASE,
)
_LOWER_WORD = re.compile(r"([a-z]{8,24})\.{0,3}")
_SIGNATURE = re.compile(r"([?&][\w-]{0,32}signature=)[^\s&\"'<>]++", re.IGNORECASE)
# The port of a URL whose password has an @ that is not encoded: `int` quotes the rest of the password.
_NO_NUMBER = re.compile(r"(invalid literal for int\(\) with base \d{1,2}: ['\"])[^\r\n]{0,400}@")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")

_LITERAL = re.compile(r"(?:null|None|true|True|false|False|\*\*\*)(?![\w.+/*-])")
_COUNTS = {
    "tokens": re.compile(r"\d{1,5}(?![\w.+/*=-])(?!\s{0,8}[,;|]?\s{0,8}\d)"),
    "pass": re.compile(r"\d{1,5}[\s,;|/]{1,8}(?:fail|skip)", re.IGNORECASE),
}
_FIELD = re.compile(  # on the next line, where a password has nothing on its own
    r"(?:user(?:name)?|login|e-?mail|host(?:name)?|port|database|dbname|name|url|path|method|status)\s{0,8}[:=]",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"""[bru]?(?:"(?:\\.|[^"\\])*+"?|'(?:\\.|[^'\\])*+'?)""", re.DOTALL)
_TO_LINE_END = re.compile(r"[^\r\n]*+")
_BARE = re.compile(
    r"(?:(?:bearer|basic|token|digest|negotiate)\s{1,8})?"
    r"""(?:[^\s"'&<>,;]|[,;](?![\s,;]|[\w.-]{1,40}[=:]|$)|["'](?![\s,;:)}\]]|$))*+""",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s{0,8}")
_SEPARATOR = re.compile(r"\s{0,8}(?:=>|:=|=|:)\s{0,8}")
_BRACKET = re.compile(r"[\[{(]|[\]})]")
_NAME_BEFORE = re.compile(r"[\w-]{0,64}\Z")
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_SHORTEST_TOKEN = 13  # characters of the shortest thing that _TOKEN matches
_SHORTEST_ALONE = 13  # and of a card's number: shorter words need a name before them to be secrets


def redact_text(text: str, rules: Rules = DEFAULT_RULES) -> str:
    """*text* without passwords, tokens, keys, card numbers and values of rows; never raises."""
    if text.isalnum() and len(text) < _SHORTEST_ALONE:
        return text
    low = _lower(text)
    if "://" in text:
        text = mask_urls(text, rules.mask)
    if "invalid literal for int" in text and "@" in text:
        text = _NO_NUMBER.sub(lambda found: f"{found[1]}{rules.mask}@", text)
    text = mask_rows(text, low, rules.mask)
    if "-----BEGIN" in text:
        text = _mask_pem(text, rules.mask)
    if ("=" in text or ":" in text or "," in text) and _may_name(low, rules):
        text = _mask_named(text, rules)
    text = mask_quoted(text, low, rules.mask)
    if "bearer" in low or "basic" in low:
        text = _BEARER.sub(lambda found: _bearer_masked(found, rules.mask), text)
    if len(text) >= _SHORTEST_TOKEN and any(map(low.__contains__, _TOKENS)):
        text = _TOKEN.sub(lambda _: rules.mask, text)
    if len(text) >= _SHORTEST_ALONE:
        text = mask_cards(text, rules.mask)
    return text


def _may_name(low: str, rules: Rules) -> bool:
    """Whether any name of *rules* may stand in *low*; the user's own are not gated."""
    return rules is not DEFAULT_RULES or any(map(low.__contains__, _NAMES))


def _lower(text: str) -> str:
    """*text* in lower case, each character where it was: some letters have a longer lower case."""
    return text.lower() if text.isascii() else text.translate(_ASCII_LOWER)


def _bearer_masked(found: re.Match[str], mask: str) -> str:
    """*found* without its credentials; after "basic" they are base64 of `user:password`, which no word is."""
    scheme, gap, told = found.groups()
    if scheme.lower() == "basic" and (word := _LOWER_WORD.fullmatch(told)):
        try:
            if b":" not in b64decode(word[1] + "=" * (-len(word[1]) % 4)):
                return found[0]
        except ValueError:
            return found[0]
    return f"{scheme}{gap}{mask}"


def _mask_pem(text: str, mask: str) -> str:
    """Private keys; one that does not end takes the rest of the text with it."""
    kept, at = [], 0
    while begin := _PEM.search(text, at):
        end = _PEM_END.search(text, begin.end())
        kept += [text[at : begin.end()], mask]
        at = end.start() if end else len(text)
    return "".join([*kept, text[at:]])


@lru_cache(maxsize=8)
def _names(rules: Rules) -> re.Pattern[str]:
    """A name that may be secret, in lower case, and what stands between it and its value."""
    parts = "|".join(re.escape(part).replace("_", "[_ -]?") for part in rules.parts)
    # A word that ends with another is found with it: what stands before is read in any case.
    ends = [one for one in rules.words if not any(one != word and one.endswith(word) for word in rules.words)]
    words = "|".join(map(re.escape, ends))
    return re.compile(
        rf"""(?P<name>(?:{parts}|(?:{words})(?![a-z]))[\w-]{{0,40}})"""
        r"""(?:\\?["']?\s{0,8}(?:=>|:=|=|:)\s{0,8}|["']\s?,\s?(?=b["'])"""
        r"""|\\?["']\s?,\s{0,8}\\?["']val(?:ue)?\\?["']\s?:\s?)"""  # "name": "token", "value": "x"
    )


def _mask_named(text: str, rules: Rules) -> str:
    """Values that stand after a secret name: ``password=x``, ``"token": "x"``, ``Cookie: x``."""
    low = _lower(text)
    if "signature=" in low:
        text = _SIGNATURE.sub(lambda found: f"{found[1]}{rules.mask}", text)
        low = _lower(text)
    kept, at, seek = [], 0, 0
    names = _names(rules)
    while found := names.search(low, seek):
        seek = found.end()
        start, stop = found.span("name")
        before = _NAME_BEFORE.search(text[max(0, start - 64) : start])
        name = (before[0] if before else "") + text[start:stop]
        if not rules.secret(name) or _tells_nothing(text, name.lower(), stop, seek):
            continue
        end = _values_end(text, seek, name.lower(), rules)
        if end > seek:
            kept += [text[at:seek], _masked(text[seek:end], rules.mask)]
            at = seek = end
    return "".join([*kept, text[at:]]) if kept else text


def _tells_nothing(text: str, name: str, stop: int, seek: int) -> bool:
    """Whether what stands at *seek*, behind a *name* up to *stop*, is a literal, a count or another field."""
    if _LITERAL.match(text, seek):
        return True
    if name in _COUNTS and _COUNTS[name].match(text, seek):
        return True
    return "\n" in text[stop:seek] and _FIELD.match(text, seek) is not None


def _values_end(text: str, start: int, name: str, rules: Rules) -> int:
    """Where the value at *start* ends, with the next when it is a secret's name: ``token: password: x``."""
    end = _value_end(text, start, name)
    while end > start and rules.secret(text[start:end].strip("\"':=")):
        separator = (_SPACE if text[end - 1] in ":=" else _SEPARATOR).match(text, end)
        if separator is None:
            break
        start = separator.end()
        end = max(start, _value_end(text, start, name))
    return end


def _value_end(text: str, start: int, name: str) -> int:
    """Where the value that begins at *start* ends."""
    if quoted := _QUOTED.match(text, start):
        return quoted.end()
    if text[start : start + 1] in ("{", "[", "("):
        return _container_end(text, start)
    whole_line = "authorization" in name or "cookie" in name
    found = (_TO_LINE_END if whole_line else _BARE).match(text, start)
    return found.end() if found else start


def _container_end(text: str, start: int) -> int:
    """Where the bracket at *start* is closed; the end of the text when it never is."""
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "[{(" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _masked(value: str, mask: str) -> str:
    """*mask*, in the quotes of *value*, so that what was JSON still is."""
    quote = value.lstrip("bru")[:1]
    return f"{quote}{mask}{quote}" if quote in ('"', "'") else mask
