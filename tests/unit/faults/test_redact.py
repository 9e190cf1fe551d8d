"""RED-1, RED-2, QRY-3, DB-9: what is told holds no secret, and what is no secret stays readable."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import PurePosixPath
from re import _constants, _parser  # type: ignore[attr-defined]

import pytest

from holdfast.faults import cards, rows, texts, urls
from holdfast.faults.redact import DEFAULT_RULES, Rules, redact, redact_headers, redact_text, redact_url

URLS = {
    "postgresql://app:hunter2@db:5432/shop": "postgresql://app:***@db:5432/shop",
    "postgresql+asyncpg://app:hunter2@a:1,b:2/shop": "postgresql+asyncpg://app:***@a:1,b:2/shop",
    "postgresql://app:p@ss/w#x?y@db/shop": "postgresql://app:***@db/shop",
    "postgresql://db:5432/shop?user=app&password=x&sslpassword=y&connect_timeout=2": (
        "postgresql://db:5432/shop?user=app&password=***&sslpassword=***&connect_timeout=2"
    ),
    "redis://:hunter2@cache:6379/0": "redis://:***@cache:6379/0",
    "mongodb+srv://app:hunter2@x.example.org/?w=1": "mongodb+srv://app:***@x.example.org/?w=1",
    "jdbc:postgresql://app:hunter2@db/shop": "jdbc:postgresql://app:***@db/shop",
    "https://token123@example.org/x": "https://***@example.org/x",
    "https://user:p/w@example.org/x": "https://user:***@example.org/x",
    "postgresql://app@db/shop": "postgresql://app@db/shop",
    "postgresql://localhost:5432/shop": "postgresql://localhost:5432/shop",
    "postgresql://[::1]:5432/shop": "postgresql://[::1]:5432/shop",
    "sqlite:////var/lib/shop.db": "sqlite:////var/lib/shop.db",
    "https://example.org:8443/@ada/page": "https://example.org:8443/@ada/page",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_keeps_everything_but_its_password(url: str) -> None:
    assert redact_url(url) == URLS[url]
    assert redact_text(f"cannot reach {url} now") == f"cannot reach {URLS[url]} now"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("app:hunter2@db:5432/shop", "app:***@db:5432/shop"),
        ("postgresql://app:my secret@db/shop", "postgresql://app:***@db/shop"),
        ("postgresql://app:hun'ter\"2@db/shop", "postgresql://app:***@db/shop"),
        ("postgresql://app:hunter2", "postgresql://app:***"),
        ("host=db user=app password=hunter2 dbname=shop", "host=db user=app password=*** dbname=shop"),
        ("host=db password='hun ter2' dbname=shop", "host=db password='***' dbname=shop"),
        ("", ""),
        ("://", "://"),
    ],
)
def test_a_url_that_cannot_be_parsed_is_still_redacted(url: str, told: str) -> None:
    assert redact_url(url) == told


TEXTS = {
    "password=hunter2": "password=***",
    "PASSWORD: hunter2": "PASSWORD: ***",
    "{'password': 'hun\\'ter2', 'user': 'ada'}": "{'password': '***', 'user': 'ada'}",
    '{"api_key": "a,b}c", "n": 1}': '{"api_key": "***", "n": 1}',
    '{"secrets": {"a": [1, 2]}, "n": 1}': '{"secrets": ***, "n": 1}',
    '{"accessToken":"x","ok":true}': '{"accessToken":"***","ok":true}',
    'SID:"password": "x", n': 'SID:"***", n',
    'duplicate entry "password": "hunter2"': 'duplicate entry ***: "***"',
    "bad secret: password: hunter2 now": "bad secret: *** now",
    "token = api_key = hunter2 now": "token = *** now",
    "GET /orders?token=abc&page=2 HTTP/1.1": "GET /orders?token=***&page=2 HTTP/1.1",
    "Authorization: Digest username=ada, response=x\nHost: y": "Authorization: ***\nHost: y",
    "Cookie: sid=1; theme=dark": "Cookie: ***",
    "(b'authorization', b'Basic YWRhOnB3')": "(b'authorization', '***')",
    "sent Bearer abcdefgh.12345678 along": "sent Bearer *** along",
    "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.abc-_1 ok": "jwt *** ok",
    "AKIAIOSFODNN7EXAMPLE": "***",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345": "***",
    "sk-" + 12 * "a1": "***",
    "card 4242 4242 4242 4242, 12/29": "card ***, 12/29",
    "paid with 5555-5555-5555-4444 12": "paid with ***",
    "4111111111111111": "***",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- ok": (
        "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY----- ok"
    ),
    "-----BEGIN EC PRIVATE KEY-----\nMIIE cut off": "-----BEGIN EC PRIVATE KEY-----***",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_in_text_is_masked_and_its_surroundings_stay(text: str) -> None:
    assert redact_text(text) == TEXTS[text]


@pytest.mark.parametrize(
    "text",
    [
        "GET /orders/1834 200 in 12.4 ms for ada-lovelace",
        "Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)",
        "see http://127.0.0.1:8000.",
        "discard: 7, compass: north, author: Grace, monkey=x, shopping: now",
        '{"max_tokens": 100, "token_type": "bearer"}',
        '{"password": null, "token": true}',
        "Basic authentication required",
        "at 1732270329123 ms, order 20261122101209, 4111111111111112 is no card",
        "550e8400-e29b-41d4-a716-446655440000",
        "pool 'orders' gave no connection within 2.50 s (8 in use, 14 waiting)",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


ROWS = {
    "DETAIL:  Key (email)=(ada@example.org) already exists.": "DETAIL:  Key (email)=(***) already exists.",
    'Key (a, lower(b))=(1, x) y) is not present in table "t".': (
        'Key (a, lower(b))=(***) is not present in table "t".'
    ),
    "Key (a)=(1) conflicts with existing key (a)=(2).": (
        "Key (a)=(***) conflicts with existing key (a)=(***)."
    ),
    "Schlüssel »(email)=(ada)« existiert bereits.": "Schlüssel »(email)=(***)« existiert bereits.",
    "Failing row contains (1, a (b), null).\nHINT: x (y)": "Failing row contains (***).\nHINT: x (y)",
    "[SQL: INSERT INTO t VALUES ('a''b', 7)]\n[parameters: ('x', 1)]\n(Background on this error at: y)": (
        "[SQL: INSERT INTO t VALUES ('***', 7)]\n[parameters: ***]\n(Background on this error at: y)"
    ),
    "[parameters: {'note': array(1,\n 2)}]\n(Background on this": "[parameters: ***]\n(Background on this",
    "[generated in 0.00012s] ('ada', 1)": "[generated in 0.00012s] ***",
    "[cached since 1.5s ago] {'name': 'ada'}": "[cached since 1.5s ago] ***",
    'invalid input syntax for type integer: "ada"': "invalid input syntax for type integer: ***",
    "invalid input for query argument $1: 'ada' (expected int)": (
        "invalid input for query argument $1: *** (expected int)"
    ),
    'value "99999999999" is out of range for type integer': "value *** is out of range for type integer",
    'date/time field value out of range: "2026-13-01"': "date/time field value out of range: ***",
    'DETAIL:  Token "ada" is invalid.': "DETAIL:  Token *** is invalid.",
    "LINE 1: SELECT * FROM t WHERE name = 'ada'": "LINE 1: SELECT * FROM t WHERE name = '***'",
    "Duplicate entry 'ada' for key 'users.name'": "Duplicate entry *** for key 'users.name'",
    'E11000 dup key: { name: "ada" }': "E11000 dup key: {***}",
    "[input_value='ada', input_type=str]": "[input_value=***, input_type=str]",
}


@pytest.mark.parametrize("text", ROWS)
def test_values_of_rows_are_masked_and_names_stay(text: str) -> None:
    assert redact_text(text) == ROWS[text]


def test_a_structure_is_redacted_by_name_and_by_value() -> None:
    value = {
        "user": "ada",
        "password": "hunter2",
        "apiKey": 7,
        "nested": [
            {"Set-Cookie": ["a"], "dsn": "redis://:pw@cache"},
            ("x-auth-token", "y"),
            {4242424242424242},
        ],
        "token": None,
        "has_password": True,
        "price": 12.5,
    }

    assert redact(value) == {
        "user": "ada",
        "password": "***",
        "apiKey": "***",
        "nested": [{"Set-Cookie": "***", "dsn": "redis://:***@cache"}, ["x-auth-token", "***"], ["***"]],
        "token": None,
        "has_password": True,
        "price": 12.5,
    }


def test_a_validation_error_does_not_give_the_rejected_secret_back() -> None:
    """ERR-5, ERR-9: the input of a secret field is one, whatever its own name is."""
    error = {"type": "string_too_short", "loc": ("body", "password"), "msg": "too short", "input": "pw"}

    assert redact([error]) == [
        {"type": "string_too_short", "loc": ["body", "password"], "msg": "***", "input": "***"}
    ]


def test_other_things_are_told_as_redacted_text() -> None:
    assert redact(PurePosixPath("/a")) == "/a"
    assert redact(b"hunter2") == "<7 bytes>"
    assert redact(ValueError("password=x")) == "password=***"
    assert redact(OrderedDict(a=1)) == {"a": 1}
    assert redact({("a", 1): 2, None: 3}) == {"('a', 1)": 2, None: 3}


def test_cycles_and_depths_and_masses_end() -> None:
    loop: list[object] = [1]
    loop.append(loop)
    deep: object = "x"
    for _ in range(5000):
        deep = [deep]

    assert redact(loop) == [1, "<cycle>"]
    assert "…" in str(redact(deep))
    assert redact(list(range(10)), Rules(most=5)) == [0, 1, 2, 3, "…"]
    assert redact([loop[:1], loop[:1]]) == [[1], [1]]


class Hostile:
    def __str__(self) -> str:
        raise ValueError("no")


class HostileDict(dict[str, object]):
    def items(self) -> object:  # type: ignore[override]
        raise ValueError("no")


def test_what_cannot_be_looked_at_is_named_only() -> None:
    assert redact(Hostile()) == "<Hostile>"
    assert redact(HostileDict(password="x")) == "<HostileDict>"


def test_headers_are_redacted_as_text_and_as_bytes() -> None:
    raw = [
        (b"Authorization", b"Bearer x"),
        (b"accept", b"*/*"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]

    assert redact_headers(raw) == {"Authorization": "***", "accept": "*/*", "set-cookie": "***, ***"}
    assert redact_headers({"Referer": "https://x/?token=abc"}) == {"Referer": "https://x/?token=***"}


def test_the_names_are_the_user_s_to_choose() -> None:
    rules = Rules(parts=("shoe_size",), words=(), mask="[hidden]")

    assert redact({"ShoeSize": 44, "password": "x"}, rules) == {"ShoeSize": "[hidden]", "password": "x"}
    assert redact_text("shoe_size=44 password=x", rules) == "shoe_size=[hidden] password=x"


@pytest.mark.parametrize("text", [*TEXTS, *ROWS])
def test_a_mask_is_taken_literally(text: str) -> None:
    told = redact_text(text, Rules(mask="\\1\\g<0>"))

    assert told == (TEXTS | ROWS)[text].replace("***", "\\1\\g<0>")


def test_headers_that_are_none_are_named_only() -> None:
    assert redact_headers(7) == {"…": "<int>"}  # type: ignore[arg-type]
    assert redact_headers([("a", Hostile())]) == {"…": "<list>"}


def test_json_that_was_redacted_is_still_json() -> None:
    body = json.dumps({"password": 'a"b\\c', "user": {"token": "x", "name": "ada"}})

    assert json.loads(redact_text(body)) == {"password": "***", "user": {"token": "***", "name": "ada"}}


ADVERSARIES = [
    "password=", 'password="', "token:'", "api-", "eyJ", "eyJaaaaa.", "://", "a://b:c", "@", ")=(",
    "](",
    "row contains (", "-----BEGIN PRIVATE KEY-----", "4 ", "41-", "[SQL: '", "'", '"', "\\", "bearer ", "{",
    "invalid input syntax for type x: ", "secret={", "[parameters: ", ") already exists", "input_value=",
    ",a=",
    "44 ", "2\xa0\xa044", "postgresql://a:b ", "://a:b@ ", "?signature=", "basic ", "'name', 'value': ",
    "\n", 'value "', "dup key: {", "LINE 1: ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", ADVERSARIES)
def test_a_long_text_of_nothing_but_beginnings_is_answered(piece: str) -> None:
    """RED-2: were one of these quadratic, this test would not come back."""
    text = (piece * 200_000)[:200_000]

    assert len(redact_text(text)) <= 4 * len(text)


def repeats(parsed: object) -> Iterator[tuple[bool, int]]:
    """Each repetition in a parsed pattern: whether it may backtrack, and how long it may be."""
    if isinstance(parsed, (list, tuple, _parser.SubPattern)):
        if len(parsed) == 2 and parsed[0] in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            yield True, parsed[1][1]
        for one in parsed:
            yield from repeats(one)


def test_no_repetition_that_may_backtrack_is_unbounded() -> None:
    """RED-2: so no pattern can take more than a fixed number of steps back."""
    patterns = [
        one
        for module in (cards, rows, texts, urls)
        for one in vars(module).values()
        if isinstance(one, re.Pattern)
    ]
    patterns += [texts._names(DEFAULT_RULES), *texts._COUNTS.values()]

    assert len(patterns) > 20
    for pattern in patterns:
        longest = max((most for _, most in repeats(_parser.parse(pattern.pattern, pattern.flags))), default=0)

        assert int(longest) <= 400, pattern.pattern
