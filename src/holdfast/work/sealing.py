"""Encrypts what the journal keeps: AES-256-GCM under a key that is derived from a secret.

What is sealed carries its salt, so that it stays readable when all else of its file is lost. It is
bound to the entry it belongs to: nobody can put one request in the place of another.
"""

from __future__ import annotations

import os
from typing import Any, Final, NoReturn

from holdfast.work.journal import JournalUnusableError

SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_COST: Final = 2**14  # of scrypt: 16 MiB and some 50 ms, once for each salt


class Seal:
    """Seals under *secret*; one that *begins* may become the seal of a journal that has none.

    Raises JournalUnusableError without the package `cryptography`.
    """

    __slots__ = ("_ciphers", "_salt", "_secret", "begins")

    def __init__(self, secret: str, salt: bytes | None = None, *, begins: bool = True) -> None:
        if not secret:
            raise JournalUnusableError(
                "HOLDFAST_JOURNAL_KEY is empty; leave it out, or give it a long secret"
            )
        self._secret = secret.encode()
        self._salt = salt or os.urandom(SALT_BYTES)
        self.begins = begins
        self._ciphers: dict[bytes, Any] = {}
        self._cipher(self._salt)

    def salted(self, salt: bytes) -> Seal:
        """The same secret with the salt of a journal."""
        return self if salt == self._salt else Seal(self._secret.decode(), salt, begins=self.begins)

    @property
    def salt(self) -> bytes:
        """The salt that new seals are made with."""
        return self._salt

    def seal(self, plain: bytes, belongs_to: bytes) -> bytes:
        """*plain*, readable only with the secret and together with *belongs_to*."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._cipher(self._salt).encrypt(nonce, plain, belongs_to)
        return self._salt + nonce + sealed

    def open(self, sealed: bytes, belongs_to: bytes) -> bytes:
        """What was sealed. Raises ValueError when the secret is another one, or *belongs_to*."""
        from cryptography.exceptions import InvalidTag

        salt, rest = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
        try:
            plain: bytes = self._cipher(salt).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], belongs_to)
        except InvalidTag as error:
            raise ValueError("another key, or not what was sealed") from error
        return plain

    def _cipher(self, salt: bytes) -> Any:
        cipher = self._ciphers.get(salt)
        if cipher is None:
            cipher = self._ciphers[salt] = _derived(self._secret, salt)
        return cipher


def refuse_unsealed(place: str) -> NoReturn:
    """*place* is not sealed, and whoever asks has a key that may not begin a seal."""
    raise JournalUnusableError(
        f"the journal {place} is not sealed; leave HOLDFAST_JOURNAL_KEY out"
        " (a journal is sealed when a server starts with a key)"
    )


def _derived(secret: bytes, salt: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise JournalUnusableError(
            "HOLDFAST_JOURNAL_KEY is set, and the package cryptography is not installed; "
            "pip install 'holdfast[encryption]', or leave the key out"
        ) from error
    return AESGCM(Scrypt(salt=salt, length=32, n=_COST, r=8, p=1).derive(secret))
