"""What the application says it needs is looked for before anything else starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic_settings import BaseSettings

from holdfast.settings.declared import declaration, missing, purposes
from holdfast.settings.envfile import read_lines
from holdfast.settings.fields import Port, Secret
from holdfast.settings.report import Problem


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def lacking(folder: Path, environ: dict[str, str] | None = None) -> tuple[Problem, ...]:
    found = declaration(folder)
    return (*found.problems, *missing(found, environ or {}, "production"))


def declare(folder: Path, settings: str, **modules: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.holdfast]\nsettings = {settings!r}\n")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(dedent(text))


EXAMPLE = """\
# How the shop is configured

# where orders are kept,
# all of them
SHOP_DSN=postgresql://app:hunter2@db/shop
SHOP_TITLE='a # b'   # shown on top
SHOP_EMPTY='' # set it
# SHOP_OPTIONAL=1
export SHOP_SECRET_KEY=changeme
"""


def test_an_example_files_comments_say_what_each_variable_is_for(folder: Path) -> None:
    """ENV-2, ENV-3."""
    (folder / ".env.example").write_text(EXAMPLE)
    told = {line.name: (line.comment, line.value) for line in read_lines(folder / ".env.example")}

    assert told == {
        "SHOP_DSN": ("where orders are kept, all of them", "postgresql://app:hunter2@db/shop"),
        "SHOP_TITLE": ("shown on top", "a # b"),
        "SHOP_EMPTY": ("set it", ""),
        "SHOP_SECRET_KEY": ("SHOP_OPTIONAL=1", "changeme"),
    }
    assert "hunter2" not in str(purposes(folder))


def test_each_key_of_the_example_is_required(folder: Path) -> None:
    """ENV-2: absent and empty alike."""
    (folder / ".env.example").write_text(EXAMPLE)
    problems = lacking(folder, {"SHOP_TITLE": "My shop", "SHOP_EMPTY": " "})

    assert [one.name for one in problems] == ["SHOP_DSN", "SHOP_EMPTY", "SHOP_SECRET_KEY"]
    assert "is missing" in problems[0].line()
    assert "is empty" in problems[1].line()


def test_no_password_of_the_example_is_told(folder: Path) -> None:
    """ENV-3: one may have been forgotten there."""
    (folder / ".env.example").write_text(EXAMPLE)
    said = "\n".join(one.line() for one in lacking(folder))

    assert "hunter2" not in said
    assert "changeme" not in said
    assert "for example SHOP_SECRET_KEY=<32 or more random characters>" in said


def test_nothing_is_required_where_nothing_is_declared(folder: Path) -> None:
    assert lacking(folder) == ()


def test_an_example_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / ".env.example").write_bytes(b"what is this\nA=\xff\n")

    assert lacking(folder)[0].name == ".env.example"
    (folder / ".env.example").write_text("what is this\n")
    assert lacking(folder)[0].name == ".env.example:1"


CONFIG = """
    from pydantic_settings import BaseSettings
    from holdfast.settings.fields import DatabaseUrl, Secret
    class Settings(BaseSettings):
        shop_dsn: DatabaseUrl
        shop_pepper: Secret
        shop_slots: int = 3
"""


def test_the_class_named_in_pyproject_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-2; the example file explains, but requires nothing beside a class."""
    declare(folder, "config_dc:Settings", config_dc=CONFIG)
    (folder / ".env.example").write_text(
        "SHOP_PEPPER='' # for the passwords\nSHOP_DSN=sqlite:// # where orders are kept\nSHOP_OTHER=1\n"
    )
    problems = lacking(folder)

    assert [one.line() for one in problems] == [
        "SHOP_DSN is missing | where orders are kept | for example SHOP_DSN=postgresql://app:***@localhost:5432/shop",
        "SHOP_PEPPER is missing | for the passwords | for example SHOP_PEPPER=<32 or more random characters>",
    ]
    monkeypatch.setenv("SHOP_DSN", "sqlite:///shop.db")
    monkeypatch.setenv("SHOP_PEPPER", "kT7v-Qm2zX9_rW4bN8sL1pD6fH3gJ5cA0yE")
    assert lacking(folder) == ()


def test_a_pyproject_above_the_folder_counts(folder: Path) -> None:
    declare(folder, "config_ab:Settings", config_ab=CONFIG)
    (folder / "src").mkdir()

    assert declaration(folder / "src").settings == "config_ab:Settings"


def test_a_class_given_in_code_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-2: Holdfast(settings=Settings)."""

    class Given(BaseSettings):
        given_port: Port
        given_secret: Secret

    declare(folder, "nowhere:Settings")
    monkeypatch.setenv("GIVEN_SECRET", " ")
    problems = missing(declaration(folder, Given), {}, "test")

    assert [one.name for one in problems] == ["GIVEN_PORT", "GIVEN_SECRET"]
    assert problems[1].wrong == "is empty"


@pytest.mark.parametrize(
    ("target", "wrong"),
    [
        ("config_wr", "must be module:Class"),
        ("nowhere_wr:Settings", "there is no module nowhere_wr"),
        ("config_wr:Setings", "did you mean Settings?"),
        ("config_wr:value", "which is no class"),
        ("broken_wr:Settings", "importing broken_wr raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_declaration_that_leads_nowhere_is_told(folder: Path, target: str, wrong: str) -> None:
    declare(folder, target, config_wr="class Settings: pass\nvalue = 1\n", broken_wr="1 / 0\n")
    (problem,) = lacking(folder)

    assert problem.name == "[tool.holdfast] settings"
    assert wrong in problem.wrong


def test_a_module_that_makes_its_settings_itself_is_told_by_variable(folder: Path) -> None:
    """ENV-3: importing it is enough to fail."""
    declare(folder, "config_im:Settings", config_im=dedent(CONFIG) + "settings = Settings()\n")

    assert [one.name for one in lacking(folder)] == ["SHOP_DSN", "SHOP_PEPPER"]


def test_a_class_that_breaks_is_told(folder: Path) -> None:
    declare(
        folder,
        "config_br:Settings",
        config_br="class Settings:\n    def __init__(self): raise OSError('x')\n",
    )

    assert [one.line() for one in lacking(folder)] == ["Settings raised OSError: x"]


def test_a_class_of_another_kind_tells_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENV-3."""
    words = 'raise ValueError(os.environ["SHOP_TOKEN"].lower() + " is no token of the shop")'
    declare(
        folder,
        "config_ot:Settings",
        config_ot=f"import os\nclass Settings:\n    def __init__(self): {words}\n",
        config_mo=f"import os\n{words}\n",
    )
    monkeypatch.setenv("SHOP_TOKEN", "Hunter2")

    assert [one.line() for one in lacking(folder)] == [
        "Settings raised ValueError: *** is no token of the shop"
    ]
    declare(folder, "config_mo:Settings")
    assert lacking(folder)[0].wrong == "importing config_mo raised ValueError: *** is no token of the shop"


def test_a_misspelt_key_of_pyproject_is_told(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.holdfast]\nsetings = 'a:b'\n")

    assert "did you mean settings?" in lacking(folder)[0].wrong


def test_a_misspelt_method_of_pyproject_is_told(folder: Path) -> None:
    """JRN-1, ENV-3."""
    (folder / "pyproject.toml").write_text("[tool.holdfast]\njournal = ['PSOT /before']\n")

    assert "'PSOT /before' has a method that nobody sends; did you mean POST?" in lacking(folder)[0].wrong


@pytest.mark.parametrize(
    ("text", "heading"),
    [
        ("tool = 5\n", "[tool]"),
        ("[tool]\nholdfast = 'shop:app'\n", "[tool.holdfast]"),
        ("[tool]\nholdfast = 5\n", "[tool.holdfast]"),
        ("[[tool.holdfast]]\nsettings = 'shop:Settings'\n", "[tool.holdfast]"),
    ],
)
def test_what_is_no_table_of_pyproject_is_told(folder: Path, text: str, heading: str) -> None:
    """ENV-3."""
    (folder / "pyproject.toml").write_text(text)
    (problem,) = lacking(folder)

    assert (problem.name, problem.source) == (heading, "pyproject.toml")
    assert "must be a table" in problem.wrong


@pytest.mark.parametrize("text", ["[tool.holdfast\n", "[tool.holdfast]\nsettings = 3\n"])
def test_a_pyproject_that_cannot_be_understood_is_told(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)

    assert len(lacking(folder)) == 1
