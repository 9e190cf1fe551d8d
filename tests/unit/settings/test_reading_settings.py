"""What is read where: under `holdfast run`, and in code under another server (ENV-1, ENV-2, PRM-2)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from holdfast import Holdfast, Secret
from holdfast.settings.reading import Wanted, read_environment, read_in_code
from holdfast.settings.report import Misconfigured


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder, which is the working directory, and an environment without a name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("APP_ENV", raising=False)
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def in_code(settings: type | None = None) -> Holdfast:
    one = Holdfast(settings)
    one.close()
    return one


def names(refused: pytest.ExceptionInfo[Misconfigured]) -> list[str]:
    return [one.name for one in refused.value.problems]


def run(folder: Path, **process: str) -> None:
    read_environment(Wanted(folder=folder, default="production"), process)


def test_in_code_the_same_files_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-1, PRM-2: process over .env.{APP_ENV} over .env; the process's environment is left as it is."""
    (folder / ".env").write_text(
        "APP_ENV=staging\nHOLDFAST_MAX_WAIT_MS=1\nHOLDFAST_MAX_WAITING=1\nDB_POOL_MAX=9\n"
    )
    (folder / ".env.staging").write_text("HOLDFAST_MAX_WAIT_MS=2000\nHOLDFAST_MAX_WAITING=2\n")
    monkeypatch.setenv("HOLDFAST_MAX_WAITING", "3")
    settings = in_code().settings

    assert (settings.app_env, settings.max_wait_s, settings.max_waiting) == ("staging", 2.0, 3)
    assert settings.db_pool_max == 9
    assert "DB_POOL_MAX" not in os.environ


def test_in_code_what_is_wrong_in_a_file_is_told(folder: Path) -> None:
    """ENV-3, ENV-5."""
    (folder / ".env").write_text("HOLDFAST_MAX_WIAT_MS=1\nwhat is this\n")
    (folder / "pyproject.toml").write_text("[tool.holdfast]\njurnal = []\nrequire_key = 3\n")
    with pytest.raises(Misconfigured) as refused:
        Holdfast()

    assert names(refused) == [
        ".env:2",
        "HOLDFAST_MAX_WIAT_MS",
        "[tool.holdfast] jurnal",
        "[tool.holdfast] require_key",
    ]
    assert "(from .env)" in str(refused.value)


def test_in_code_pyproject_counts(folder: Path) -> None:
    """ENV-2, PRM-2: its routes, and the class it names."""
    table = '[tool.holdfast]\njournal = ["POST /orders"]\nrequire_key = ["PUT /items"]\n'
    (folder / "pyproject.toml").write_text(table)
    settings = in_code().settings
    assert settings.journal.names == ("POST /orders",)
    assert settings.require_key.names == ("PUT /items",)

    (folder / "pyproject.toml").write_text(f'{table}settings = "config_pc:Settings"\n')
    (folder / "config_pc.py").write_text(
        "from pydantic_settings import BaseSettings\nclass Settings(BaseSettings):\n    shop_dsn: str\n"
    )
    with pytest.raises(Misconfigured) as refused:
        Holdfast()
    assert names(refused) == ["SHOP_DSN"]


def test_in_code_a_class_that_is_not_there_yet_is_not_judged(folder: Path) -> None:
    """PRM-5: pyproject names the module that is being imported, which makes its settings itself."""
    (folder / "pyproject.toml").write_text('[tool.holdfast]\nsettings = "shop_nj:Settings"\n')
    (folder / "shop_nj.py").write_text(
        "from holdfast import Holdfast\nHoldfast().close()\n"
        "from pydantic_settings import BaseSettings\nclass Settings(BaseSettings): pass\n"
    )
    __import__("shop_nj")

    (folder / "shop_nj.py").write_text("")
    del sys.modules["shop_nj"]
    with pytest.raises(Misconfigured):
        Holdfast()


def test_in_code_the_class_reads_what_it_reads(folder: Path) -> None:
    """ENV-2: a file that holdfast knows is no file of the class, which is told so."""

    class Blind(BaseSettings):
        shop_dsn: str
        shop_title: str

    class Seeing(Blind):
        model_config = SettingsConfigDict(env_file=".env")

    (folder / ".env").write_text("SHOP_DSN=sqlite://\nSHOP_TITLE=x\n")
    with pytest.raises(Misconfigured) as refused:
        Holdfast(Blind)

    assert names(refused) == ["SHOP_DSN", "SHOP_TITLE"]
    assert "is missing; .env has it, which the class reads with env_file='.env'" in str(refused.value)
    in_code(Seeing)


def test_in_code_an_example_requires_nothing(folder: Path) -> None:
    """PRM-5: an application's own tests import it too; under `holdfast run` each key is required (ENV-2)."""
    (folder / ".env.example").write_text("SHOP_TITLE=x # shown on top\nwhat is this\n")
    in_code()

    with pytest.raises(Misconfigured) as refused:
        run(folder)
    assert names(refused) == [".env.example:2", "SHOP_TITLE"]


def test_an_environment_that_is_assumed_is_not_given(folder: Path) -> None:
    """ENV-2, ENV-5: whoever declares APP_ENV requires it, by an example or by a class."""
    (folder / ".env.example").write_text("APP_ENV=production\n")
    with pytest.raises(Misconfigured) as example:
        run(folder)
    run(folder, APP_ENV="staging")

    class Shop(BaseSettings):
        app_env: str

    exported: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", exported)
        with pytest.raises(Misconfigured) as required:
            read_environment(Wanted(folder=folder, default="production", settings=Shop), exported)

    assert names(example) == names(required) == ["APP_ENV"]
    assert exported == {}


def test_a_secret_is_judged_by_the_environment_that_is_assumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENV-1, ENV-4: without a name `holdfast run` means production, and `holdfast dev` does not."""

    class Shop(BaseSettings):
        shop_key: Secret

    monkeypatch.setenv("SHOP_KEY", "changeme")
    monkeypatch.setenv("APP_ENV", "")
    read_environment(Wanted(folder=folder, default="development", settings=Shop), os.environ)
    monkeypatch.setenv("APP_ENV", "")
    with pytest.raises(Misconfigured):
        read_environment(Wanted(folder=folder, default="production", settings=Shop), os.environ)


def test_an_option_counts_as_given(folder: Path) -> None:
    """ENV-1."""
    (folder / ".env.example").write_text("PORT=8000\n")
    read_environment(Wanted(folder=folder, default="production", options={"PORT": "1"}), {})
    with pytest.raises(Misconfigured):
        run(folder)


def test_our_settings_are_told_before_the_class_is_imported(folder: Path) -> None:
    """PRM-1: with it may come the application, and its engines."""
    (folder / "pyproject.toml").write_text('[tool.holdfast]\nsettings = "config_bi:Settings"\n')
    (folder / "config_bi.py").write_text("class Settings: pass\n")
    there: list[bool] = []
    read_in_code(folder, {}, before_import=lambda _: there.append("config_bi" in sys.modules))

    assert there == [False]
