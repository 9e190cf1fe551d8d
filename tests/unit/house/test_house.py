"""The house keeps its rules: sizes, words, first lines, the public surface, the documented snippets."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import holdfast

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST_FILE = 400
HEAVY = ("sqlalchemy", "pydantic", "uvicorn", "structlog", "starlette")
FORBIDDEN_NAMES = re.compile(r"\bclass \w*(Manager|Helper|Utils|Base)\b")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_a_file_has_one_idea_and_says_it_in_its_first_line(path: Path) -> None:
    text = path.read_text()

    assert len(text.splitlines()) <= LONGEST_FILE
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "its first line says what it is about"


@pytest.mark.parametrize("path", [one for one in SOURCES if one.name != "shop.py"], ids=ids)
def test_no_class_is_named_for_what_it_does_not_say(path: Path) -> None:
    assert FORBIDDEN_NAMES.search(path.read_text()) is None


def test_the_public_surface_is_what_the_text_file_says() -> None:
    surface = {f"holdfast.{name}" for name in holdfast.__all__}
    surface |= {
        f"holdfast.Holdfast.{name}"
        for name in ("database", "install", "wrap")
        if inspect.isfunction(getattr(holdfast.Holdfast, name))
    }
    from holdfast.cli.main import app

    surface |= {
        f"holdfast {command.name or command.callback.__name__}"
        for command in app.registered_commands
        if command.callback
    }
    surface |= {
        f"holdfast {group.name} {command.name or command.callback.__name__}"
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
        if command.callback
    }

    assert sorted(surface) == sorted((Path(__file__).parent / "public_surface.txt").read_text().splitlines())


def test_every_public_name_promises_something() -> None:
    for name in holdfast.__all__:
        assert inspect.getdoc(getattr(holdfast, name)), name


@pytest.mark.parametrize("document", ["README.md", "docs/transactions.md", "docs/journal.md"])
def test_documented_snippets_run(document: str) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)

    assert snippets
    for snippet in snippets:
        ran = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, holdfast; print([m for m in {HEAVY} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.strip() == "[]"


def test_the_command_lines_help_imports_no_server_and_no_database_library() -> None:
    """PRF-6: `holdfast --help` stays fast because it imports next to nothing."""
    code = (
        "import sys\nsys.argv = ['holdfast', '--help']\nfrom holdfast.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.strip().splitlines()[-1] == "[]"
