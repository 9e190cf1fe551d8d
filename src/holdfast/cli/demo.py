"""`holdfast demo`: a shop, its PostgreSQL, and a button that stops it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the shop; 0 finds a free one.")] = 0,
) -> None:
    """Start the demo and print its address. Ctrl-C ends everything."""
    from holdfast.demo.stage import run

    sys.exit(run(port))
