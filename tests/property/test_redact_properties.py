"""RED-1, RED-2 and properties 13 and 14: whatever is told, a planted secret never gets out."""

from __future__ import annotations

import copy
import json
from typing import Any

import asyncpg
import pytest
import sqlalchemy.exc
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from holdfast.faults.cards import is_card
from holdfast.faults.category import Category, Fault, Outcome, Severity
from holdfast.faults.classify import classify
from holdfast.faults.problem import CODES, from_fault, problem, render
from holdfast.faults.redact import redact, redact_headers, redact_text, redact_url

SECRET = "zq7Xwv93Kpl0"  # what no strategy below makes by itself
NAMES = ["password", "api_key", "apiKey", "X-Auth-Token", "client_secret", "Set-Cookie", "cvv", "cardNumber"]

keys = st.text(max_size=12) | st.integers() | st.sampled_from(["user", "name", "loc", "input", *NAMES])
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner),
    max_leaves=25,
)
# Pieces that patterns begin with, so that generated text wanders into them.
pieces = st.sampled_from(
    ["password=", "token:", '"', "'", "://", "@", ":", ")=(", "(", ")", "[parameters: ", "[SQL: ", "\n", "\\",
         "Failing row contains (", "-----BEGIN PRIVATE KEY-----", "Bearer ", "eyJ", "4242 ", "{", "}",
     "input_value=", ", "]
)  # fmt: skip
texts = st.lists(pieces | st.text(max_size=8), max_size=30).map("".join)


@settings(max_examples=300)
@given(values)
def test_any_value_is_answered_and_left_as_it_was(value: Any) -> None:
    before = copy.deepcopy(value)
    redact(value)

    assert value == before


@settings(max_examples=500)
@given(texts)
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(redact_text(text), str)
    assert isinstance(redact_url(text), str)
    assert isinstance(redact_headers({text: text}), dict)


@settings(max_examples=300)
@given(values, st.sampled_from(NAMES), st.lists(st.sampled_from(["a", "items", 0]), max_size=6))
def test_a_secret_by_name_is_gone_at_any_depth(beside: Any, name: str, path: list[Any]) -> None:
    value: Any = {name: SECRET, "beside": beside}
    for step in path:
        value = {step: value} if isinstance(step, str) else [value]

    assert SECRET not in repr(redact(value))


@settings(max_examples=300)
@given(
    st.text(max_size=20),
    st.sampled_from(NAMES),
    st.sampled_from(["{}={}", '"{}": "{}"', "'{}': '{}'", "{}: {}"]),
)
def test_a_secret_by_name_is_gone_from_text(before: str, name: str, form: str) -> None:
    assume(not before or not (before[-1].isalnum() or before[-1] in "_-"))

    assert SECRET not in redact_text(before + form.format(name, SECRET))


@settings(max_examples=300)
@given(st.text(st.characters(exclude_characters="\"'\\", exclude_categories=["Cc", "Cs"]), min_size=1), texts)
def test_a_quoted_secret_is_gone_to_its_last_character(odd: str, after: str) -> None:
    told = redact_text(json.dumps({"password": f"{odd}{SECRET}{odd}"}) + after)

    assert told.startswith('{"password": "***"')  # what opens a row may take the brace with it


passwords = st.text(
    st.characters(exclude_categories=["Z", "C"], exclude_characters="\"'<>@"), min_size=1, max_size=20
)
schemes = st.sampled_from(["postgresql", "postgresql+asyncpg", "mysql", "redis", "mongodb+srv", "amqp"])


@settings(max_examples=500)
@given(schemes, passwords, st.text(max_size=10))
def test_a_password_in_a_url_is_gone_even_when_it_was_not_encoded(
    scheme: str, password: str, text: str
) -> None:
    """DB-9."""
    url = f"{scheme}://app:{SECRET}{password}@db:5432/shop"

    assert redact_url(url) == f"{scheme}://app:***@db:5432/shop"
    assert SECRET not in redact_text(f"{text} {url}")


@settings(max_examples=300)
@given(st.from_regex(r"4[0-9]{14}", fullmatch=True), st.sampled_from(["", " ", "-"]), st.text(max_size=8))
def test_a_card_number_is_gone_however_it_is_grouped(digits: str, gap: str, before: str) -> None:
    card = next(digits + str(last) for last in range(10) if is_card(digits + str(last)))
    assume(not before or not (before[-1].isalnum() or before[-1] in "_.,- "))
    grouped = gap.join(card[at : at + 4] for at in range(0, 16, 4))

    assert grouped not in redact_text(before + grouped)


@settings(max_examples=300)
@example("\n^", "Key (email)=({}) already exists.")
@given(
    st.text(max_size=60),
    st.sampled_from(["Key (email)=({}) already exists.", "Failing row contains (1, {})."]),
)
def test_no_value_of_a_row_leaves_in_an_error_s_text(value: str, form: str) -> None:
    """QRY-3: the value is masked to its end, whatever brackets and lines it holds."""
    assume("already exists" not in value)
    exc = asyncpg.UniqueViolationError("duplicate key")
    exc.detail = form.format(value + SECRET)
    whole = sqlalchemy.exc.IntegrityError("INSERT INTO users VALUES ($1)", (value + SECRET,), exc)

    assert SECRET not in redact_text(str(exc))
    assert SECRET not in redact_text(str(whole))


faults = st.builds(
    Fault,
    st.sampled_from(Category),
    st.sampled_from([400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504]),
    st.booleans(),
    st.sampled_from(Outcome),
    st.sampled_from(Severity),
    st.booleans(),
    st.none() | st.sampled_from(["23505", "23502", "57P01", "ECONNREFUSED"]),
    st.lists(st.sampled_from(["email", "tenant", "name"]), unique=True).map(tuple),
)
REQUIRED = {
    "problem": {"type", "title", "status", "detail", "code", "category"},
    "simple": {"error", "message", "status"},
}


@settings(max_examples=300)
@given(faults, st.sampled_from(["problem", "simple"]), st.booleans(), st.none() | st.floats(0, 100))
def test_every_error_has_the_one_format(
    fault: Fault, style: Any, production: bool, after: float | None
) -> None:
    """ERR-3, property 13."""
    told = from_fault(
        fault, request_id="r", instance="/x", production=production, exc=KeyError("x"), retry_after=after
    )
    body = render(told, style)

    assert REQUIRED[style] <= set(body)
    assert json.loads(json.dumps(body)) == body
    assert None not in body.values()
    assert body["status"] == fault.status
    assert told.code in CODES
    assert ("retryAfter" in body) <= (fault.transient or fault.status in (429, 503))


def raised(value: str) -> list[BaseException]:
    conflict = asyncpg.UniqueViolationError(f"duplicate key {value}")
    conflict.detail = f"Key (email)=({value}) already exists."
    lost = ConnectionRefusedError(111, f"Connect call failed ('10.0.0.7', 5432) {value}")
    return [
        conflict,
        lost,
        sqlalchemy.exc.IntegrityError(f"INSERT INTO users VALUES ('{value}')", {"email": value}, conflict),
        KeyError(value),
        asyncpg.InvalidPasswordError(f'password authentication failed for user "{value}"'),
        ExceptionGroup(value, [ValueError(value), lost]),
    ]


@settings(max_examples=200)
@given(st.text(max_size=20), st.sampled_from(["problem", "simple"]))
def test_production_leaks_nothing_of_an_exception(text: str, style: Any) -> None:
    """ERR-4, property 14."""
    for exc in raised(text + SECRET):
        told = from_fault(classify(exc), request_id="r", instance="/orders", production=True, exc=exc)
        body = json.dumps(render(told, style))

        assert SECRET not in body
        assert not any(word in body for word in ("10.0.0.7", "INSERT", "asyncpg", "Traceback", "debug"))


@pytest.mark.parametrize("code", CODES)
def test_every_code_makes_a_problem_whose_words_are_for_people(code: str) -> None:
    """ERR-3: codes are stable, titles short, details whole sentences."""
    told = problem(code)

    assert told.type.endswith(code)
    assert 400 <= told.status <= 599
    assert len(told.title) <= 40
    assert told.detail.endswith(".")
