"""A traceback for people who asked for it, without the secrets that its errors quote."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.faults.redact import redact_text
from holdfast.settings.words import masked, secrets_in
from holdfast.telemetry.lines import traceback_text


def traceback_without_secrets(error: BaseException, environ: Mapping[str, str]) -> str:
    """The traceback of *error*; no input of a validation, and no secret of *environ* whoever quotes it."""
    return redact_text(masked(traceback_text(error), secrets_in(environ)))
