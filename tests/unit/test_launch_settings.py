"""What the application declares, and where, as `holdfast run` sees it (ENV-1, ENV-2, ENV-5, PRM-1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_launch import WITHIN, run

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


THEIRS = {
    "APP_ENV": "qa",
    "LOG_FORMAT": "%(message)s",
    "CLIENT_URL": "*",
    "DATABASE_URL": "host=db password=hunter2",
}


def test_the_applications_own_variables_stop_nobody(tmp_path: Path) -> None:
    """PRM-5, PRM-3: what was not understood is told once, with what holds instead."""
    with run(tmp_path, target="shop:app", app=PLAIN, MAX_RETRY_ATTEMPTS="0", **THEIRS) as one:
        told = {line["variable"]: line for line in one.lines if line["event"] == "setting_ignored"}

        assert set(told) == set(THEIRS)
        assert told["LOG_FORMAT"]["cause"] == "is '%(message)s' but must be human or json"
        assert told["LOG_FORMAT"]["otherwise"] == "human on a terminal, json elsewhere"
        assert {line["level"] for line in told.values()} == {"warning"}
        assert "hunter2" not in one.output


@pytest.mark.parametrize(
    "url", ["mongodb://u:hunter2@h1:27017,h2:27017/db", "postgresql://app:hunter2@h1:1,h2:2/db"]
)
def test_an_address_that_sqlalchemy_cannot_read_stops_nobody(tmp_path: Path, url: str) -> None:
    """PRM-5, PRM-3: several hosts are one URL to the libraries that the application may use instead."""
    with run(tmp_path, target="shop:app", app=PLAIN, DATABASE_URL=url) as one:
        (told,) = [line for line in one.lines if line["event"] == "setting_ignored"]

        assert told["variable"] == "DATABASE_URL"
        assert "several hosts" in told["cause"]
        assert "hunter2" not in one.output


PLAIN = """
import os

async def app(scope, receive, send):
    raise RuntimeError("not asked")

print("seen", os.environ.get("SHOP_TITLE"), flush=True)
"""


@pytest.mark.parametrize("beside", [False, True], ids=["project", "app-dir"])
def test_with_an_app_dir_the_projects_own_files_count(tmp_path: Path, beside: bool) -> None:
    """ENV-1: those beside the modules only where the project has none."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "stall.py").write_text(PLAIN)
    (tmp_path / "src" / ".env").write_text("SHOP_TITLE=modules\n")
    if not beside:
        (tmp_path / ".env").write_text("APP_ENV=development\n")
        (tmp_path / ".env.development").write_text("SHOP_TITLE=project\n")
    with run(tmp_path, target="stall:app", options=["--app-dir", "src"]) as one:
        assert f"seen {'modules' if beside else 'project'}" in one.output
        assert f"environment: {'production' if beside else 'development'}" in one.output


def test_with_an_app_dir_everything_the_project_declares_is_judged(tmp_path: Path) -> None:
    """ENV-2, ENV-5."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "stall.py").write_text(ENGINE)
    (tmp_path / "pyproject.toml").write_text('[tool.holdfast]\nsettings = "stall:Settings"\n')
    (tmp_path / ".env").write_text("HOLDFAST_MAX_WIAT_MS=3\n")
    (tmp_path / ".env.example").write_text("# where orders are kept\nDATABASE_URL=postgresql://db/shop\n")
    with run(tmp_path, ready=False, target="stall:app", options=["--app-dir", "src"]) as one:
        assert one.process.wait(WITHIN) == 78, one.output
        assert "HOLDFAST_MAX_WAIT_MS" in one.output
        assert "DATABASE_URL is missing" in one.output
        assert "where orders are kept" in one.output
