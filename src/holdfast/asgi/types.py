"""The three callables of ASGI, and what the request path is given to tell of its requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from holdfast.context import Request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Metrics(Protocol):
    """What the request path counts."""

    def served(self, method: str, status: int) -> None:
        """An answer has started."""
        ...


class Records(Protocol):
    """Log records that an attempt wrote about a failure that may yet be undone."""

    def forget(self, request: Request) -> None:
        """The attempt is run again: nobody shall read them."""
        ...

    def release(self, request: Request) -> None:
        """It was the last attempt: let them through."""
        ...
