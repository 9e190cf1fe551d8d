"""The phases of startup, in strict order, each timed and told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from holdfast.events import BUS, Bus, PhaseFinished
from holdfast.settings.failure import Exit, StartFailure
from holdfast.settings.words import told_without_secrets


class Phases:
    """Runs phases; `entered` hears the name of each as it begins, `finished` its duration too."""

    def __init__(
        self, entered: Callable[[str], None], finished: Callable[[str, float], None], bus: Bus = BUS
    ) -> None:
        self._entered = entered
        self._finished = finished
        self._bus = bus

    @contextmanager
    def phase(self, name: str) -> Iterator[list[str]]:
        """One phase. What is appended to the list is told with its end.

        An exception that nobody turned into a `StartFailure` becomes one here, with this phase's name.
        """
        began = monotonic()
        self._entered(name)
        detail: list[str] = []
        try:
            yield detail
        except StartFailure:
            raise
        except Exception as error:
            # Whoever's words these are: a library may quote the piece of a URL that it stumbled over.
            description = f"{type(error).__name__}: {told_without_secrets(str(error), os.environ)}"
            action = "Run again with --debug to see the traceback."
            raise StartFailure(name, description, action, Exit.SOFTWARE) from error
        took = (monotonic() - began) * 1000
        self._finished(name, took)
        self._bus.publish(PhaseFinished(phase=name, duration_ms=round(took, 1), detail=", ".join(detail)))
