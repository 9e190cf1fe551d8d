"""Real servers as fixtures: one of its own for a test that hurts it, a shared one for those that do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.drill.postgresql import PostgreSQL
from holdfast.drill.proxy import Proxy
from holdfast.drill.servers import real_server


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of this test's own (starts in a third of a second)."""
    with real_server("postgresql") as server:
        yield server


@pytest.fixture(scope="module")
def shared_postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL that the tests of one module share; leave it as you found it."""
    with real_server("postgresql") as server:
        yield server


@pytest.fixture
def proxy(postgresql: PostgreSQL) -> Iterator[Proxy]:
    """A fault proxy on a thread of its own, before `postgresql`."""
    with postgresql.proxied() as proxy:
        yield proxy
