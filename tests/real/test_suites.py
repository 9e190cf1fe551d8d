"""DB-1, PRM-5: suites of applications, one a driver, give the same results with the hooks as without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import EVERY_SHOP, SHOPS, Shop

from holdfast.drill.postgresql import PostgreSQL

SUITES = Path(__file__).parent / "suites"
HOOKS = """
from holdfast import Holdfast

hold = Holdfast()
"""
OUTCOME = re.compile(r"^(\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)


def outcomes(shop: Shop, server: PostgreSQL, folder: Path, *, hooked: bool) -> dict[str, str]:
    """What each test of *shop*'s suite comes to, by name."""
    (folder / "with_hooks.py").write_text(HOOKS)
    plugin = ["-p", "with_hooks"] if hooked else []
    quiet = ["-v", "--color=no", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(SUITES)]
    suite = str(SUITES / f"suite_{shop.name}.py")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, *plugin, suite],
        env={**os.environ, **shop.environment(server), "PYTHONPATH": f"{folder}:{SHOPS}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    found = dict(OUTCOME.findall(ran.stdout))
    assert found, ran.stdout + ran.stderr
    return found


@pytest.mark.parametrize("shop", EVERY_SHOP, ids=lambda one: one.name)
def test_a_suite_comes_to_the_same_with_hooks(shop: Shop, postgresql: PostgreSQL, tmp_path: Path) -> None:
    bare = outcomes(shop, postgresql, tmp_path, hooked=False)

    assert outcomes(shop, postgresql, tmp_path, hooked=True) == bare
    assert "PASSED" in bare.values()
