"""What all tests share: those under tests/real are marked as standing on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL = Path(__file__).parent / "real"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if REAL in item.path.parents:
            item.add_marker(pytest.mark.real)
            item.add_marker(pytest.mark.slow)
