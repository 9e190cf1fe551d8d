"""Crash tests borrow the shops and the processes of tests/real."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "real"))
