"""The shell round the policies: retry, breaker and deadline, fused, round any callable.

    payments = guard("payments", timeout=2, retry=Retry(attempts=3), breaker=Breaker(failures=5))

    @payments                       # on plain and coroutine functions; those guarded by one
    async def charge(order): ...    # object share its circuit

    async with payments: ...        # breaker and deadline; a block cannot be attempted again

A refused call raises `Refused`, one that ran out of time TimeoutError; any other error is the
original, untouched but for a note that tells how often the call was attempted.
"""

from __future__ import annotations

import sys
from types import ModuleType

from holdfast.guard.allowance import RetryBudget
from holdfast.guard.circuit import Circuit, Refused
from holdfast.guard.deadline import DEADLINE, deadline_at, deadline_in, time_left
from holdfast.guard.shell import Guard, guard

__all__ = [
    "DEADLINE",
    "Circuit",
    "Guard",
    "Refused",
    "RetryBudget",
    "deadline_at",
    "deadline_in",
    "guard",
    "time_left",
]


class _Room(ModuleType):
    """Python binds a submodule over its package's attribute of the same name, so that
    `from holdfast import guard` may give this module: it is called as the function is."""

    __call__ = staticmethod(guard)


sys.modules[__name__].__class__ = _Room
