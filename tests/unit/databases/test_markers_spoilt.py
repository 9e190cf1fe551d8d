"""What switches the table of keys off: only what speaks against it for good (REQ-5)."""

from __future__ import annotations

import pytest

from holdfast.databases.markers import spoils


@pytest.mark.parametrize(
    ("code", "text", "spoilt"),
    [
        ("42501", "permission denied for schema public", True),
        ("42P01", "relation does not exist", True),
        ("3F000", "schema does not exist", True),
        ("25006", "cannot execute CREATE TABLE in a read-only transaction", True),
        ("57014", "canceling statement due to statement timeout", False),
        ("53100", "could not extend file: No space left on device", False),
        ("40001", "could not serialize access", False),
        ("XX000", "something went wrong", False),
        ("08006", "connection failure", False),
        (None, "database 'shop' is away; no connection was attempted", False),
        (None, "the connection is closed", False),
        (None, "attempt to write a readonly database", True),
        (None, "no such table: holdfast_idempotency", True),
        (None, "database is locked", False),
        (None, "disk I/O error", False),
    ],
)
def test_only_what_lasts_speaks_against_it(code: str | None, text: str, spoilt: bool) -> None:
    assert spoils(code, text) is spoilt
