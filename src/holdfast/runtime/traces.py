"""What a failed start prints: why, and a traceback for who asked for it, without the secrets it quotes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from holdfast.faults.redact import redact_text
from holdfast.settings.failure import StartFailure
from holdfast.settings.words import masked, secrets_in
from holdfast.telemetry.lines import traceback_text


def traceback_without_secrets(error: BaseException, environ: Mapping[str, str]) -> str:
    """The traceback of *error*; no input of a validation, and no secret of *environ* whoever quotes it."""
    return redact_text(masked(traceback_text(error), secrets_in(environ)))


def say(failed: StartFailure, debug: bool) -> int:
    """Print why a start failed, with *debug* the traceback first; its exit status."""
    if debug and failed.__cause__ is not None:
        print(traceback_without_secrets(failed.__cause__, os.environ), file=sys.stderr)  # noqa: T201 - asked for
    print(failed, file=sys.stderr)  # noqa: T201 - the one thing a failed start has to say
    return failed.exit_status
