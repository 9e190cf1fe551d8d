"""The sync shop's own tests: they know nothing of holdfast."""

import uuid

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sync_shop import app, engine


@pytest.fixture(scope="module")
def client():
    with TestClient(app) as client:
        yield client


def test_items_are_listed(client):
    assert len(client.get("/items").json()) == 20


def test_an_order_is_placed_and_found(client):
    reference = uuid.uuid4().hex
    assert client.post("/orders", json={"reference": reference, "item_id": 1}).status_code == 201
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT reference FROM orders WHERE reference = :r"), {"r": reference})
        assert rows.scalars().all() == [reference]


def test_a_rollback_leaves_nothing(client):
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT count(*) FROM orders"))
        connection.execute(text("DELETE FROM orders"))
        connection.rollback()
        assert connection.scalar(text("SELECT count(*) FROM orders")) == before


def test_errors_keep_their_kind(client):
    with engine.connect() as connection, pytest.raises(ProgrammingError):
        connection.execute(text("SELECT * FROM no_such_table"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS only_one (id int PRIMARY KEY)"))
        connection.execute(text("DELETE FROM only_one"))
        connection.execute(text("INSERT INTO only_one VALUES (1)"))
    with engine.connect() as connection, pytest.raises(IntegrityError):
        connection.execute(text("INSERT INTO only_one VALUES (1)"))
