"""The Litestar shop's own tests: they know nothing of holdfast."""

import pytest
from litestar.testing import TestClient
from litestar_shop import create_app


@pytest.fixture(scope="module")
def client():
    with TestClient(create_app()) as client:
        yield client


def test_its_own_health(client):
    assert client.get("/health").status_code == 200


def test_items_are_listed(client):
    assert len(client.get("/items").json()) == 20


def test_any_other_path_is_the_page(client):
    assert client.get("/some/where").status_code == 200


def test_an_item_that_is_not_there(client):
    assert client.get("/items/999").status_code == 404
