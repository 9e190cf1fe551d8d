"""Which exceptions a rule is told about: types, or a predicate."""

from __future__ import annotations

from collections.abc import Callable

On = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]


def concerns(on: On, error: BaseException) -> bool:
    """Whether a rule for *on* applies to *error*; never to what is no `Exception`, as a cancellation."""
    if not isinstance(error, Exception):
        return False
    if isinstance(on, type | tuple):
        return isinstance(error, on)
    return on(error)
