"""A line's text: JSON for machines, harmless for terminals, redacted for all (LOG-1, LOG-5)."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path

import pytest

from holdfast.context import Request
from holdfast.telemetry.lines import (
    Line,
    console_text,
    fields_of,
    frozen,
    frozen_arguments,
    json_text,
    traceback_text,
)


def line(message: str = "hello", *, arguments=None, fields=None, error=None, request=None) -> Line:
    return (0.25, "info", "shop", message, arguments, fields, error, request)


class Spiteful:
    def __str__(self) -> str:
        raise LookupError("no")

    __repr__ = __str__


def test_json_has_the_public_keys_in_order():
    text = json_text(line(fields={"order": 7, "total": Decimal("1.50")}))

    assert text.endswith("}\n")
    assert json.loads(text) == {
        "timestamp": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "shop",
        "event": "hello",
        "order": 7,
        "total": "1.50",
    }
    assert list(json.loads(text))[:4] == ["timestamp", "level", "logger", "event"]


def test_a_request_under_way_is_named_with_method_path_and_user():
    """REQ-1: the request's id is in every log line."""
    request = Request("r-9", "POST", "/orders", 0.0, 30.0)
    request.user_id = "u-1"

    told = fields_of(line(request=request))

    assert (
        told["request_id"],
        told["method"],
        told["path"],
        told["user_id"],
    ) == ("r-9", "POST", "/orders", "u-1")


def test_fields_cannot_pose_as_what_every_line_has():
    told = fields_of(line(fields={"level": "debug", "event": "forged", "more": 1}))

    assert (told["level"], told["event"], told["more"]) == ("info", "hello", 1)


def test_secrets_are_redacted_in_message_arguments_fields_and_traceback():
    """LOG-5: measured on real applications, a database password was in the logs."""
    url = "postgresql://shop:hunter2secret@db/shop"
    try:
        raise ValueError(url)
    except ValueError as error:
        text = json_text(
            line(
                "to %s and " + url,
                arguments=(url,),
                fields={"password": "hunter2secret", "url": url},
                error=error,
            )
        )

    assert "hunter2secret" not in text
    assert "ValueError" in text


@pytest.mark.parametrize(
    "value",
    ["\ud800", 2**80, {1: {2: float("nan")}}, [Spiteful()], {("a", "b"): 1}],
    ids=["surrogate", "huge", "nan", "spiteful", "tuple key"],
)
def test_whatever_the_value_the_line_is_json(value):
    assert json.loads(json_text(line(fields=frozen({"value": value}))))["event"] == "hello"


def test_wrong_arguments_still_make_a_line():
    assert fields_of(line("%d orders", arguments=("many",)))["event"] == "%d orders ('many',)"


def test_a_handed_over_value_does_not_change_any_more():
    basket = {"items": [1, {"two": 2}], "when": datetime.date(2026, 1, 2)}
    taken = frozen(basket)
    basket["items"].append(3)  # type: ignore[attr-defined]

    assert {"items": [1, {"two": 2}], "when": datetime.date(2026, 1, 2)} == taken


def test_application_objects_are_shown_at_once_and_cannot_raise():
    assert frozen(Spiteful()) == "<Spiteful that raises LookupError when shown>"
    assert frozen(Path("a/b")) == "a/b"

    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    assert "[[" in str(frozen(deep))


@pytest.mark.parametrize(
    ("form", "given", "expected"),
    [
        ("%d", HTTPStatus.NOT_FOUND, "404"),
        ("%r", Path("a/b"), "a/b"),
        ("%.1f", 1.25, "1.2"),
        ("%s", {1}, "{1}"),
    ],
)
def test_arguments_of_records_keep_their_formats(form, given, expected):
    assert form % frozen_arguments((given,)) == expected


def test_named_arguments_of_records_stay_named():
    assert frozen_arguments({"n": 1}) == {"n": 1}
    assert frozen_arguments(()) is None


def test_a_terminal_never_gets_control_characters_of_others():
    text = console_text(False)(line("one\ntwo\x1b[2J", fields={"agent": "x\x1by"}))

    assert "\x1b" not in text
    assert "one\n    two\\x1b[2J" in text
    assert "x\\x1by" in text


def test_people_get_level_message_fields_and_the_traceback_below():
    try:
        raise ValueError("broken")
    except ValueError as error:
        text = console_text(False)(line("hello", fields={"order": 7}, error=error))

    first, *rest = text.splitlines()
    assert "info" in first
    assert "hello" in first
    assert "order=7" in first
    assert rest[-1] == "ValueError: broken"


def test_the_device_is_told_where_the_user_agent_is():
    """REQ-1: device types in logs."""
    told = fields_of(line(fields={"user_agent": "curl/8.5.0"}))

    assert told["device"] == "bot"


def test_an_exception_that_cannot_be_shown_has_a_traceback_all_the_same():
    class Odd(Exception):
        def __str__(self) -> str:
            raise LookupError

    assert "Odd" in traceback_text(Odd())


def test_a_traceback_without_end_is_cut_at_a_line():
    text = "\n".join(f"postgresql://shop:hunter{number:06}@db/shop" for number in range(5_000))
    told = fields_of(line(error=text))["exception"]

    assert len(told) < len(text)
    assert "hunter" not in told
    assert told.startswith("postgresql://")
