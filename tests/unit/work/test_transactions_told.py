"""TXN-1: how a statement is told: kind, table, text, never a value."""

from __future__ import annotations

import pytest

from holdfast.work.transactions_told import LONGEST, MOST, told, told_all


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE stock SET left = 4 WHERE id = $1", "UPDATE stock: UPDATE stock SET left = ? WHERE id = $1"),
        (
            "insert into s.t1 (a) VALUES ('it''s', 1.5, %s)",
            "INSERT s.t1: insert into s.t1 (a) VALUES (?, ?, %s)",
        ),
        ("SELECT a1 FROM t WHERE b = %(b_1)s", "SELECT t: SELECT a1 FROM t WHERE b = %(b_1)s"),
        ("DELETE FROM only_t WHERE x IN (1,2)", "DELETE only_t: DELETE FROM only_t WHERE x IN (?,?)"),
        ('UPDATE ONLY "Odd Name" SET a=:a', 'UPDATE "Odd Name": UPDATE ONLY "Odd Name" SET a=:a'),
        ("SELECT 1 -- secret", "SELECT ?"),
        ("SELECT /* secret */ $q$secret$q$", "SELECT ?"),
        ("SELECT 'never closed", "SELECT"),
        (r"SELECT E'it\'s', 'secret'", "SELECT"),
        ("-- secret\nSELECT 1", "SELECT ?"),
        ("", ""),
    ],
)
def test_it_is_told_without_values(statement: str, expected: str) -> None:
    assert told(statement) == expected


def test_what_the_dialect_does_not_quote_with_is_a_value() -> None:
    assert told('SELECT * FROM `t` WHERE a = "secret"', "`") == "SELECT `t`: SELECT * FROM `t` WHERE a = ?"


def test_it_is_bounded() -> None:
    assert len(told("SELECT " + "a, " * 500)) == LONGEST
    assert told_all(["SELECT 1"] * MOST, 45)[:2] == ("26 more before", "SELECT ?")
    assert told_all(["SELECT 1"] * 3, 3) == ("SELECT ?",) * 3
