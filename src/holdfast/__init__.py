"""holdfast keeps a web backend standing when its database does not.

`holdfast run shop.app:app` does it without a line of code; `Holdfast().install(app)` with one.
Names are imported when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.app import Holdfast as Holdfast
    from holdfast.asgi.journaling import journaled as journaled
    from holdfast.guard.circuit import Refused as Refused
    from holdfast.guard.shell import guard as guard
    from holdfast.policy.backoff import Backoff as Backoff
    from holdfast.policy.breaker import Breaker as Breaker
    from holdfast.policy.retry import Retry as Retry
    from holdfast.settings.fields import DatabaseUrl as DatabaseUrl
    from holdfast.settings.fields import HttpUrl as HttpUrl
    from holdfast.settings.fields import MongoUrl as MongoUrl
    from holdfast.settings.fields import Port as Port
    from holdfast.settings.fields import RedisUrl as RedisUrl
    from holdfast.settings.fields import Secret as Secret
    from holdfast.settings.settings import Settings as Settings
    from holdfast.work.transactions import run_transaction as run_transaction
    from holdfast.work.transactions import transaction as transaction
    from holdfast.work.transactions_errors import CommitOutcomeUnknown as CommitOutcomeUnknown
    from holdfast.work.transactions_errors import ConcurrentModification as ConcurrentModification

_HOMES = {
    "Backoff": "holdfast.policy.backoff",
    "Breaker": "holdfast.policy.breaker",
    "CommitOutcomeUnknown": "holdfast.work.transactions_errors",
    "ConcurrentModification": "holdfast.work.transactions_errors",
    "DatabaseUrl": "holdfast.settings.fields",
    "Holdfast": "holdfast.app",
    "HttpUrl": "holdfast.settings.fields",
    "MongoUrl": "holdfast.settings.fields",
    "Port": "holdfast.settings.fields",
    "RedisUrl": "holdfast.settings.fields",
    "Refused": "holdfast.guard.circuit",
    "Retry": "holdfast.policy.retry",
    "Secret": "holdfast.settings.fields",
    "Settings": "holdfast.settings.settings",
    "guard": "holdfast.guard.shell",
    "journaled": "holdfast.asgi.journaling",
    "run_transaction": "holdfast.work.transactions",
    "transaction": "holdfast.work.transactions",
}

__all__ = [
    "Backoff",
    "Breaker",
    "CommitOutcomeUnknown",
    "ConcurrentModification",
    "DatabaseUrl",
    "Holdfast",
    "HttpUrl",
    "MongoUrl",
    "Port",
    "RedisUrl",
    "Refused",
    "Retry",
    "Secret",
    "Settings",
    "guard",
    "journaled",
    "run_transaction",
    "transaction",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'holdfast' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
