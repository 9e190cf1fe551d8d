"""Answers that tell of errors with a status of success, as GraphQL does.

The GraphQL specification (section 7.1): a response is a map; where the request raised errors it
has an entry `errors`, a list that is not empty, beside `data`, which may be null.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

_TYPES = (b"application/json", b"application/graphql-response+json")


def is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an answer of these headers may be GraphQL's."""
    return any(
        name.lower() == b"content-type" and value.lower().startswith(_TYPES) for name, value in headers
    )


def tells_errors(body: bytes) -> bool:
    """Whether *body*, the whole of it, is a response of GraphQL with errors."""
    if b'"errors"' not in body:
        return False
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:  # compressed, or no JSON after all
        return False
    return (
        isinstance(told, dict)
        and "data" in told
        and isinstance(told.get("errors"), list)
        and bool(told["errors"])
    )
