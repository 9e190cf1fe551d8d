"""The codes of our answers, and what they say to whoever reads them.

Codes are public and stable: clients branch on them. Titles and details may get better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from holdfast.faults.category import Category


class Text(NamedTuple):
    """What is said of one code: the status it usually goes with, a title and a detail."""

    status: int
    title: str
    detail: str
    category: Category


CODES: Mapping[str, Text] = {
    "database_unavailable": Text(
        503,
        "Service temporarily unavailable",
        "The database cannot be reached at the moment. Please try again shortly.",
        Category.DATABASE_CONNECTION,
    ),
    # 503 because it is the database's absence; without Retry-After, so that nobody repeats it blindly.
    "commit_outcome_unknown": Text(
        503,
        "Outcome unknown",
        "The connection to the database was lost while the change was being saved, so it may or may not "
        "have been saved. Please check before you send it again.",
        Category.DATABASE_CONNECTION,
    ),
    "applied_but_interrupted": Text(
        503,
        "Saved, but interrupted",
        "The change was saved, but the request failed afterwards. Please do not send it again.",
        Category.DATABASE_CONNECTION,
    ),
    "journal_full": Text(
        503,
        "Service temporarily unavailable",
        "The database cannot be reached at the moment, and too many requests are already kept for later. "
        "Please try again shortly.",
        Category.DATABASE_CONNECTION,
    ),
    "journal_body_too_large": Text(
        503,
        "Service temporarily unavailable",
        "The database cannot be reached at the moment, and this request is too large to be kept for later. "
        "Please try again shortly.",
        Category.DATABASE_CONNECTION,
    ),
    "journal_unavailable": Text(
        503,
        "Service temporarily unavailable",
        "What was asked for cannot be read at the moment. Please try again shortly.",
        Category.DATABASE_CONNECTION,
    ),
    "operation_dead": Text(
        500,
        "Given up",
        "The operation was attempted several times and failed each time. "
        "It is kept, and can be run again by an administrator.",
        Category.UNKNOWN,
    ),
    "deadline_exceeded": Text(
        504,
        "Took too long",
        "The request was not finished within its time limit. Please try again later.",
        Category.TIMEOUT,
    ),
    "waiting_room_full": Text(
        503,
        "Too busy",
        "Too many requests are already waiting for the database. Please try again shortly.",
        Category.OVERLOAD,
    ),
    "overloaded": Text(
        503,
        "Too busy",
        "The service has more to do than it can handle at the moment. Please try again shortly.",
        Category.OVERLOAD,
    ),
    "shutting_down": Text(
        503,
        "Restarting",
        "This server is shutting down. Please try again; another one will answer.",
        Category.OVERLOAD,
    ),
    "starting": Text(
        503,
        "Starting",
        "The service is starting and not ready yet. Please try again shortly.",
        Category.OVERLOAD,
    ),
    "rate_limited": Text(
        429,
        "Too many requests",
        "You have sent too many requests in a short time. Please wait before you send the next one.",
        Category.RATE_LIMIT,
    ),
    "write_conflict": Text(
        503,
        "Please try again",
        "Somebody else changed the same data at the same moment, so nothing was saved. Please try again.",
        Category.CONFLICT,
    ),
    "duplicate_key": Text(
        409,
        "Already exists",
        "An entry with the same value exists already.",
        Category.CONFLICT,
    ),
    "conflict": Text(
        409,
        "Conflict",
        "The request does not fit the present state of the data. Please reload and try again.",
        Category.CONFLICT,
    ),
    "idempotency_in_progress": Text(
        409,
        "Still being processed",
        "A request with the same Idempotency-Key is still being processed. Please wait for its answer.",
        Category.CONFLICT,
    ),
    "idempotency_mismatch": Text(
        422,
        "Idempotency-Key used before",
        "This Idempotency-Key was used before with another payload. Please use a new key for a new request.",
        Category.VALIDATION,
    ),
    "idempotency_key_missing": Text(
        400,
        "Idempotency-Key missing",
        "This operation needs an Idempotency-Key header, so that it can be repeated safely.",
        Category.VALIDATION,
    ),
    "idempotency_key_invalid": Text(
        400,
        "Idempotency-Key not valid",
        "The Idempotency-Key header must hold 1 to 255 visible characters. Please send a fresh random one.",
        Category.VALIDATION,
    ),
    "bad_request": Text(
        400,
        "Bad request",
        "The request could not be understood or carried out as it was sent.",
        Category.VALIDATION,
    ),
    "validation_failed": Text(
        422,
        "Invalid request",
        "Some of the data is missing or not valid. Please correct it and try again.",
        Category.VALIDATION,
    ),
    "unauthenticated": Text(401, "Not signed in", "Please sign in and try again.", Category.AUTHENTICATION),
    "forbidden": Text(403, "Not allowed", "You are not allowed to do this.", Category.AUTHORIZATION),
    "not_found": Text(
        404, "Not found", "What you asked for does not exist, or no longer.", Category.NOT_FOUND
    ),
    "upstream_unavailable": Text(
        503,
        "Service temporarily unavailable",
        "Another service that is needed cannot be reached at the moment. Please try again shortly.",
        Category.NETWORK,
    ),
    "internal_error": Text(
        500,
        "Internal error",
        "Something went wrong on our side. The error has been recorded.",
        Category.UNKNOWN,
    ),
}
