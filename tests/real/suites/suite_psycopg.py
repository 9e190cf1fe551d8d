"""The psycopg shop's own tests: they know nothing of holdfast."""

import os
import uuid

import pytest
from fastapi.testclient import TestClient
from psycopg_shop import app, engine


@pytest.fixture(scope="module")
def client():
    with TestClient(app) as client:
        yield client


def test_items_are_listed(client):
    assert len(client.get("/items").json()) == 20


def test_an_item_that_is_not_there(client):
    assert client.get("/items/999").status_code == 404


def test_an_order_is_placed(client):
    reference = uuid.uuid4().hex
    answer = client.post("/orders", json={"reference": reference, "item_id": 1})
    assert answer.status_code == 201
    assert answer.json()["reference"] == reference


def test_an_order_that_is_not_one(client):
    answer = client.post("/orders", json={"reference": "x"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "item_id"]


def test_a_socket_echoes(client):
    with client.websocket_connect("/ws") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"


def test_the_database_is_the_one_of_the_environment():
    assert engine.url.port == int(os.environ["DATABASE_URL"].rpartition(":")[2].partition("/")[0])


def test_that_fails():
    assert engine is None, "so that failures are compared too"
