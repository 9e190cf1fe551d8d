"""An error is told with its request, its recovery and its operation, and no value (ERR-6)."""

from __future__ import annotations

import pytest

from holdfast.telemetry.enrichment import about, operation, recovery, user_agent


def test_the_request_is_told_with_timing_recovery_and_fault(under_way):
    request = under_way("r-4", fault=True, method="POST")
    request.attempt, request.held_for, request.user_id = 3, 0.25, "u-1"
    request.ledger.databases |= {"main", "audit"}

    assert about(request, 1000.5) == {
        "request_id": "r-4",
        "method": "POST",
        "path": "/orders",
        "elapsed_ms": 1500.0,
        "held_ms": 250.0,
        "recovery": {"attempted": True, "successful": False, "attempts": 3},
        "user_id": "u-1",
        "databases": ["audit", "main"],
        "fault": {"category": "database_connection", "code": None},
    }


def test_a_recovery_is_successful_once_no_fault_is_left(under_way):
    request = under_way()
    request.held_for = 1.0

    assert recovery(request) == {"attempted": True, "successful": True, "attempts": 1}


def test_the_user_agent_is_found_whatever_its_case(under_way):
    request = under_way()
    request.headers = [(b"host", b"x"), (b"User-Agent", b"caf\xe9")]

    assert user_agent(request) == "café"
    request.headers = []
    assert user_agent(request) is None


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("INSERT INTO \"orders\" (a) VALUES ('it''s', 7)", "orders"),
        ("update shop.orders set a = 4111111111111111", "shop.orders"),
        ("DELETE FROM `orders` WHERE a = $$secret$$", "orders"),
    ],
)
def test_the_operation_has_kind_table_and_no_value(statement, table):
    error = ValueError()
    error.statement = statement  # type: ignore[attr-defined]
    told = operation(error)

    assert told is not None
    assert (statement.split()[0].upper(), table) == (told["operation"], told["table"])
    assert not {"it''s", "secret", "4111"} & set(told["statement"].replace("'", " ").split())
    assert "?" in told["statement"]


def test_without_a_statement_there_is_no_operation():
    assert operation(ValueError()) is None
