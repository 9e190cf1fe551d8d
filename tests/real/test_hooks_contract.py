"""The real driver of an engine keeps the promises that the fake one is held to."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hooked import POSTGRESQL, Flavour, hooked, isolated

from holdfast.databases.adopt import Registry
from holdfast.drill.postgresql import PostgreSQL


def _contract() -> Any:
    """The promises, which live beside the fake."""
    path = Path(__file__).parents[1] / "unit" / "databases" / "contract.py"
    spec = importlib.util.spec_from_file_location("driver_contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


contract = _contract()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with isolated() as registry:
        yield registry


@pytest.fixture
async def rig(flavour: Flavour, registry: Registry, shared_postgresql: PostgreSQL) -> AsyncIterator[Any]:
    with shared_postgresql.proxied() as proxy:
        async with hooked(flavour, flavour.url(shared_postgresql, proxy)) as shop:
            (link,) = shop.database.links.values()
            yield contract.Rig(
                shop.database.driver, refuse=proxy.refuse, silence=proxy.black_hole, heal=proxy.heal
            )
            proxy.heal()
            assert list(shop.database.links.values()) == [link], (
                "the watch's own are none of the application's"
            )


@pytest.mark.parametrize("promise", contract.EVERY_PROMISE, ids=lambda one: one.__name__)
@pytest.mark.parametrize("flavour", POSTGRESQL, ids=str)
async def test_an_engine_on_postgresql(promise: Callable[[Any], Awaitable[None]], rig: Any) -> None:
    await promise(rig)
