"""ERR-5: a violated constraint names its columns, never a row's values."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from holdfast.faults import constraint


@pytest.mark.parametrize(
    ("detail", "columns"),
    [
        ("Key (email)=(ada@example.org) already exists.", ("email",)),
        ("Key (tenant, email)=(7, ada@example.org) already exists.", ("tenant", "email")),
        ("Key (lower(email))=(ada@example.org) already exists.", ("email",)),
        ("Key (lower(email::text))=(ada@example.org) already exists.", ("email",)),
        ("Key (tenant, lower((email)::text))=(7, x) already exists.", ("tenant", "email")),
        ('Key ("Mail")=(x) already exists.', ("Mail",)),
        ("Schlüssel »(email)=(ada)« existiert bereits.", ("email",)),
        ("Key (a)=(1) conflicts with existing key (a)=(2).", ("a",)),
        ("Key (name)=((x)=(y)) already exists.", ("name",)),
        ("Failing row contains (1, ada).", ()),
        ("", ()),
    ],
)
def test_the_columns_are_read_from_the_detail(detail: str, columns: tuple[str, ...]) -> None:
    assert columns == constraint.in_detail(detail)


@pytest.mark.parametrize(
    ("message", "columns"),
    [
        ("UNIQUE constraint failed: items.name", ("name",)),
        ("UNIQUE constraint failed: items.shop, items.name", ("shop", "name")),
        ("NOT NULL constraint failed: items.name", ("name",)),
        ("UNIQUE constraint failed: index 'ix_users_lower(email)'", ("ix_users_lower(email)",)),
        ("CHECK constraint failed: quantity > 0", ()),
        ("FOREIGN KEY constraint failed", ()),
    ],
)
def test_the_columns_are_read_from_what_sqlite_says(message: str, columns: tuple[str, ...]) -> None:
    assert columns == constraint.in_sqlite(message)


def error(**attributes: object) -> BaseException:
    exc = ValueError("violated")
    for name, value in attributes.items():
        setattr(exc, name, value)
    return exc


def test_the_column_that_the_server_names_is_taken() -> None:
    assert constraint.columns(error(column_name="name", detail="Key (x)=(1) already exists.")) == ("name",)
    assert constraint.columns(error(diag=SimpleNamespace(column_name="name"))) == ("name",)


def test_a_name_made_by_postgresql_gives_the_column_of_a_check() -> None:
    assert constraint.columns(error(constraint_name="orders_quantity_check", table_name="orders")) == (
        "quantity",
    )
    assert constraint.columns(error(constraint_name="positive", table_name="orders")) == ()
    assert constraint.columns(error(constraint_name="orders_check", table_name="orders")) == ()


def test_nothing_told_is_nothing_named() -> None:
    assert constraint.columns(error(detail=7, diag=SimpleNamespace(message_detail=None))) == ()
