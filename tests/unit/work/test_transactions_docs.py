"""The page on transactions does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "transactions.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number: int) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNIPPETS[number]], capture_output=True, text=True, timeout=60
    )

    assert ran.returncode == 0, ran.stderr
