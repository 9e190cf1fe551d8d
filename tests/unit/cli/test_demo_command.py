"""`holdfast demo` on the command line (BOOT-6)."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from holdfast.cli.main import app


@pytest.mark.parametrize("port", ["99999", "-5"])
def test_a_port_that_is_none_is_refused_before_a_database_starts(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.demo.stage.run", lambda _: pytest.fail("the demo began"))
    asked = CliRunner().invoke(app, ["demo", "--port", port])

    assert asked.exit_code == 2
    assert "Invalid value for '--port'" in asked.output
