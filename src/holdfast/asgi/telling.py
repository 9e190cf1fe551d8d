"""What became of requests, told as events: nothing is held, run again, refused or dropped silently."""

from __future__ import annotations

from holdfast.asgi.needs import shape
from holdfast.context import Request
from holdfast.events import (
    BUS,
    AfterAnswerFailed,
    AnsweredEarly,
    Bus,
    RequestAbandoned,
    RequestRecovered,
    RequestRefused,
    RequestReplayed,
)
from holdfast.work.events import AnswerReplayed

_MOST_ROUTES = 1000


class Telling:
    """Publishes them on *bus*."""

    __slots__ = ("_bus", "_early")

    def __init__(self, bus: Bus = BUS) -> None:
        self._bus = bus
        self._early: set[tuple[str, str]] = set()  # routes of which it has been told

    def replayed(self, request: Request) -> None:
        """It is run again, after what its ledger bears."""
        ledger = request.ledger
        self._bus.publish(
            RequestReplayed(
                request_id=request.id,
                method=request.method,
                path=request.path,
                attempt=request.attempt,
                database=ledger.lost,
                cause=type(ledger.error).__name__,
            )
        )

    def given_again(self, request: Request, status: int) -> None:
        """It was given the first answer to its key."""
        self._bus.publish(
            AnswerReplayed(request_id=request.id, method=request.method, path=request.path, status=status)
        )

    def recovered(self, request: Request, status: int) -> None:
        """It was held or run again, and the application has answered it."""
        self._bus.publish(
            RequestRecovered(
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status,
                attempts=request.attempt,
                held_s=round(request.held_for, 3),
            )
        )

    def refused(self, request: Request, status: int, code: str) -> None:
        """We answered in place of the application."""
        self._bus.publish(
            RequestRefused(
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status,
                code=code,
                attempts=request.attempt,
                held_s=round(request.held_for, 3),
            )
        )

    def abandoned(self, request: Request) -> None:
        """Its client left while it was held."""
        self._bus.publish(
            RequestAbandoned(
                request_id=request.id,
                method=request.method,
                path=request.path,
                held_s=round(request.held_for, 3),
            )
        )

    def answered_early(self, request: Request, status: int, kept: float) -> None:
        """Its answer left while a transaction of it was still open: told once a route."""
        route = (request.method, shape(request.path))
        if route in self._early or len(self._early) >= _MOST_ROUTES:
            return
        self._early.add(route)
        self._bus.publish(
            AnsweredEarly(
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status,
                kept_s=round(kept, 3),
            )
        )

    def failed_after(self, request: Request, status: int, error: BaseException, category: str) -> None:
        """Its answer was complete; what the application did after it failed with its database."""
        self._bus.publish(
            AfterAnswerFailed(
                request_id=request.id,
                method=request.method,
                path=request.path,
                status=status,
                category=category,
                error=error,
            )
        )
