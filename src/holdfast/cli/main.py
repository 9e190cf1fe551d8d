"""`holdfast`: the commands by name."""

from __future__ import annotations

import typer

from holdfast.cli.demo import demo
from holdfast.cli.free_port import free_port
from holdfast.cli.journal import journal
from holdfast.cli.run import run

app = typer.Typer(
    name="holdfast",
    help="Keeps a Python web backend standing when its database does not.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(context_settings={"allow_interspersed_args": True})(run)
app.command()(demo)
app.command("free-port")(free_port)
app.add_typer(journal, name="journal")


@app.callback()
def _holdfast() -> None:
    """Keeps a Python web backend standing when its database does not."""


def main() -> None:
    """The entry point."""
    app()
