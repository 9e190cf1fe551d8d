"""What the application declares, and where, as `holdfast run` sees it (ENV-1, ENV-2, ENV-5, PRM-1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_launch import run

pytestmark = pytest.mark.slow

ENGINE = """
from pydantic_settings import BaseSettings
from sqlalchemy import create_engine

class Settings(BaseSettings):
    database_url: str

engine = create_engine(Settings().database_url)

async def app(scope, receive, send):
    raise RuntimeError("not asked")

print("engine", hasattr(engine, "_holdfast_hooks"), engine.pool.size(), flush=True)
"""
NOWHERE = "postgresql+psycopg://app@127.0.0.1:9/shop"


def test_an_engine_that_comes_with_the_settings_class_is_found(tmp_path: Path) -> None:
    """PRM-1, ENV-2: and its pool gets the defaults, though the class is imported before all phases."""
    (tmp_path / "pyproject.toml").write_text('[tool.holdfast]\nsettings = "shop:Settings"\n')
    with run(tmp_path, ready=False, app=ENGINE, DATABASE_URL=NOWHERE, DB_POOL_MAX="7") as one:
        one.until("engine ")

        assert "engine True 7" in one.output


def test_so_is_one_of_a_package_that_imports_its_application(tmp_path: Path) -> None:
    """PRM-1, PRM-3: importing `stall.config` imports `stall`, and that the engine."""
    (tmp_path / "pyproject.toml").write_text('[tool.holdfast]\nsettings = "stall.config:Settings"\n')
    (tmp_path / "stall").mkdir()
    (tmp_path / "stall/__init__.py").write_text("from shop import app")
    (tmp_path / "stall/config.py").write_text("from shop import Settings")
    with run(tmp_path, ready=False, app=ENGINE, DATABASE_URL=NOWHERE, DB_POOL_MAX="7") as one:
        one.until("connect_attempted")

        assert "engine True 7" in one.output
        assert "127.0.0.1:9/shop" in one.output
