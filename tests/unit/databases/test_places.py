"""DB-2, DB-5: which engines speak of the same database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from holdfast.databases.adopt import REGISTRY, Registry
from holdfast.databases.sqlalchemy import activate, deactivate

P, A = "postgresql+psycopg://", "postgresql+asyncpg://"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in vars(Registry()).items():
        if name != "_lock":
            monkeypatch.setattr(REGISTRY, name, value)
    activate()
    yield
    deactivate()


def databases(*engines: tuple[str, dict[str, Any]]) -> int:
    made = [
        create_async_engine(url, **how) if url.startswith(A) else create_engine(url, **how)
        for url, how in engines
    ]
    return len({id(getattr(one, "sync_engine", one)._holdfast_hooks.database) for one in made})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((P + "db/shop", {}), (P + "ann:x@db:5432/shop", {})),
        ((P + "db/shop", {}), (A + "db/shop", {})),
        ((P + "db/shop", {}), (P + "/?host=db&dbname=shop", {})),
        ((P + "db/shop", {}), (P + "db/other", {"connect_args": {"dbname": "shop"}})),
        ((P + "/shop?host=/tmp/s", {}), (A + "/shop?host=/tmp/s", {})),
    ],
)
def test_told_otherwise_the_same(one: Any, other: Any) -> None:
    assert databases(one, other) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((P + "db/shop", {}), (P + "db/other", {})),
        ((P + "/shop?host=/tmp/s&port=5433", {}), (P + "/shop?host=/tmp/s&port=5434", {})),
        ((P + "h/a?port=1", {}), (P + "h/a?port=2", {})),
        ((P + "h/?dbname=a", {}), (P + "h/?dbname=b", {})),
        ((P + "/x?service=a", {}), (P + "/x?service=b", {})),
        ((P + "db/shop", {}), (P + "db/shop", {"connect_args": {"host": "replica"}})),
        ((A + "db/shop", {}), (A + "db/shop", {"connect_args": {"port": 6432}})),
        ((P, {"creator": print}), (P, {"creator": print})),
        ((P + "db/shop", {}), (P + "db/shop", {"creator": print})),
        ((P + "/shop", {}), (P + "/shop", {})),  # wherever the environment says
        (("sqlite://", {}), ("sqlite://", {})),
    ],
)
def test_another(one: Any, other: Any) -> None:
    """A server that is away must not take a healthy one's requests with it."""
    assert databases(one, other) == 2


@pytest.mark.parametrize(
    ("url", "how", "knocks"),
    [
        (P + "db/shop", {}, True),
        (A + "db:6432/shop", {}, True),
        (P + "/shop?host=db", {}, True),
        (P + "db/shop", {"connect_args": {"host": "replica"}}, True),
        (P + "/shop?host=/tmp/s", {}, False),
        (P + "/shop?host=a,b", {}, False),
        (P + "db/shop?hostaddr=10.0.0.1", {}, False),
        (P + "db/shop", {"creator": print}, False),
        ("sqlite://", {}, False),
    ],
)
def test_who_can_be_knocked_at(url: str, how: dict[str, Any], knocks: bool) -> None:
    """DB-6: one address over TCP, of which we know that it is asked."""
    engine = create_async_engine(url, **how) if url.startswith(A) else create_engine(url, **how)
    hooks = getattr(engine, "sync_engine", engine)._holdfast_hooks

    assert hooks.driver.can_knock is knocks
