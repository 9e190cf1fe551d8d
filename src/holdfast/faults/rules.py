"""Which names stand for secrets, and how much of a value is looked at: what redaction is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_PARTS = (
    "password", "passwd", "passphrase", "pass_code", "secret", "token", "authorization", "cookie",
    "credential", "api_key", "access_key", "account_key", "private_key", "signing_key", "encryption_key",
    "master_key", "shared_key", "ssh_key", "auth_key", "client_key", "card_number", "credit_card",
    "debit_card", "security_code", "session_id", "connection_string", "social_security", "account_number",
    "pin_code", "cc_num", "csrf", "xsrf", "amz_signature", "goog_signature", "access_signature",
)  # fmt: skip
_WORDS = (
    "pwd", "pass", "pin", "cvv", "cvv2", "cvc", "csc", "card", "pan", "ssn", "iban", "auth", "otp", "totp",
    "jwt", "bearer", "sid", "psw", "sessionid", "sig", "dbpass", "userpass",
    "rootpass", "adminpass", "sqlpass", "mysqlpass", "pgpass", "smtppass", "mailpass", "ftppass", "mypass",
)  # fmt: skip
_PLAIN = (
    "max_tokens", "total_tokens", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens",
    "token_count", "token_type", "tokenizer", "password_changed_at", "password_expires_at", "secretary",
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LONGEST = 128  # characters of a name that are looked at


@dataclass(frozen=True, slots=True)
class Rules:
    """What is redacted. Names are written in lower case, their words joined by underscores.

    A name is secret when one of `parts` stands anywhere in it, or one of `words` is a word of it
    (`cardHolder` has the word card, `discard` has not), and it is not one of `plain`.
    """

    parts: tuple[str, ...] = _PARTS
    words: tuple[str, ...] = _WORDS
    plain: tuple[str, ...] = _PLAIN
    mask: str = "***"
    deepest: int = 32  # containers inside each other
    most: int = 20_000  # values of one structure

    def secret(self, name: str) -> bool:
        """Whether what is called *name* is a secret."""
        return _secret(self, name[:_LONGEST])


@lru_cache(maxsize=8192)
def _secret(rules: Rules, name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    whole, joined = "_".join(words), "".join(words)
    if whole in rules.plain:
        return False
    if any(part.replace("_", "") in joined for part in rules.parts):
        return True
    return not set(words).isdisjoint(rules.words) or joined in rules.words


DEFAULT_RULES = Rules()
