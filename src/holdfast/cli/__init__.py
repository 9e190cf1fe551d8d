"""The command line: one file a command, and none imported before it is asked for."""

from __future__ import annotations

from holdfast.cli.main import main

__all__ = ["main"]
