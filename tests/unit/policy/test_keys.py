"""What a request with an Idempotency-Key gets, row by row (REQ-5, decision 0007)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from holdfast.policy.keys import YOUNG_S, Ruling, fingerprint_of, is_final, name_of, read_key, rule

UUID = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (UUID.encode(), UUID),
        (f'"{UUID}"'.encode(), UUID),
        (f'  "{UUID}"\t'.encode(), UUID),
        (b"x", "x"),
        (b'"', '"'),
        (b'"x', '"x'),
        (b"with a space", "with a space"),
        (rb'"a \"quoted\" one"', 'a "quoted" one'),
        (rb'"back\\slash"', "back\\slash"),
        (rb'"\\\""', '\\"'),
        ("clé".encode("latin-1"), "clé"),
        (b"\xff" * 255, "ÿ" * 255),
        (b"k" * 255, "k" * 255),
        (b'"' + b"k" * 255 + b'"', "k" * 255),
    ],
)
def test_a_key_is_read_with_or_without_its_quotes(raw: bytes, expected: str) -> None:
    assert read_key(raw) == (expected, "")


@pytest.mark.parametrize(
    ("raw", "flaw"),
    [
        (b"", "is empty"),
        (b"  \t ", "is empty"),
        (b'""', "is empty"),
        (b"k" * 256, "has 256 characters; 255 are the most"),
        (b'"' + b"k" * 256 + b'"', "has 256 characters; 255 are the most"),
        (b"k" * 300, "has 300 characters; 255 are the most"),
        (b"a\tb", "holds control characters"),
        (b"a\x00b", "holds control characters"),
        (b"a\x1f", "holds control characters"),
        (b"\x1ca", "holds control characters"),
        (b"a\x7fb", "holds control characters"),
        (b"a\x85", "holds control characters"),
        (b"\xa0", "holds control characters"),
        (b"a\n", "holds control characters"),
        (b'"a\r\nb"', "holds control characters"),
    ],
)
def test_what_is_no_key_is_said_and_never_repaired(raw: bytes, flaw: str) -> None:
    assert read_key(raw) == (None, flaw)


def test_the_same_key_on_another_route_is_another_key() -> None:
    names = {
        name_of("k", "POST", "/orders"),
        name_of("k", "PUT", "/orders"),
        name_of("k", "POST", "/refunds"),
        name_of("l", "POST", "/orders"),
    }

    assert len(names) == 4
    assert {len(name) for name in names} == {64}
    assert name_of("k", "POST", "/orders") in names


def test_a_path_that_is_no_utf_8_has_a_name_too() -> None:
    assert name_of("k", "POST", "/\udcff") != name_of("k", "POST", "/\udcfe")


# ---- the payload and the credentials ------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """As much of a request as its fingerprint is of."""

    method: str = "POST"
    path: str = "/orders"
    query: bytes = b"a=1"
    body: bytes = b'{"item": 1}'
    headers: dict[bytes, bytes] = field(default_factory=dict)
    whole: bool = True

    def fingerprint(self) -> str:
        return fingerprint_of(self.method, self.path, self.query, self.body, self.headers, whole=self.whole)


@pytest.mark.parametrize(
    "other",
    [
        Sent(method="PUT"),
        Sent(path="/refunds"),
        Sent(query=b"a=2"),
        Sent(query=b"", body=b'a=1\0{"item": 1}'),
        Sent(body=b'{"item": 2}'),
        Sent(headers={b"content-length": b"10000000"}, whole=False),
        Sent(headers={b"authorization": b"Bearer ann"}),
        Sent(headers={b"x-api-key": b"ann"}),
        Sent(headers={b"cookie": b"session=ann"}),
    ],
    ids=lambda other: str(other)[5:60],
)
def test_another_payload_or_another_sender_has_another_fingerprint(other: Sent) -> None:
    assert Sent().fingerprint() == Sent().fingerprint()
    assert other.fingerprint() != Sent().fingerprint()


def test_the_credentials_are_the_first_that_were_given() -> None:
    """A cookie that a tracker changes does not make another sender of who has a token."""
    token = Sent(headers={b"authorization": b"Bearer ann", b"cookie": b"seen=1"})

    assert (
        replace(token, headers={**token.headers, b"cookie": b"seen=2"}).fingerprint() == token.fingerprint()
    )
    assert replace(token, headers={**token.headers, b"x-api-key": b"k"}).fingerprint() == token.fingerprint()
    bob = replace(token, headers={**token.headers, b"authorization": b"Bearer bob"})
    assert bob.fingerprint() != token.fingerprint()


def test_the_same_credential_under_another_name_is_another_sender() -> None:
    one = Sent(headers={b"authorization": b"ann"}).fingerprint()
    two = Sent(headers={b"x-api-key": b"ann"}).fingerprint()

    assert one != two


def test_a_whole_body_is_the_same_however_it_was_sent() -> None:
    """Once with its length, once in chunks."""
    assert Sent(headers={b"content-length": b"11"}).fingerprint() == Sent().fingerprint()


def test_what_has_nothing_to_do_with_the_work_changes_nothing() -> None:
    plain = Sent(headers={b"content-length": b"11"})
    noisy = replace(plain, headers={b"content-length": b"11", b"user-agent": b"x", b"x-request-id": b"7"})

    assert noisy.fingerprint() == plain.fingerprint()


def test_no_credential_can_be_read_off_a_fingerprint() -> None:
    told = Sent(headers={b"authorization": b"hunter2"}).fingerprint()

    assert "hunter2" not in told
    assert len(told) == 65


# ---- what is kept decides -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (None, Ruling.RUN),
        (("theirs", 0.0, True), Ruling.MISMATCH),
        (("theirs", 0.0, False), Ruling.MISMATCH),
        (("theirs", 99999.0, False), Ruling.MISMATCH),
        (("ours", 0.0, True), Ruling.REPLAY),
        (("ours", 99999.0, True), Ruling.REPLAY),
        (("ours", -5.0, False), Ruling.WAIT),  # clocks differ
        (("ours", 0.0, False), Ruling.WAIT),
        (("ours", YOUNG_S - 0.1, False), Ruling.WAIT),
        (("ours", YOUNG_S, False), Ruling.LOST),
        (("ours", 99999.0, False), Ruling.LOST),
    ],
)
def test_what_is_kept_under_the_key_decides(kept: tuple[str, float, bool] | None, expected: Ruling) -> None:
    assert rule(kept, "ours") is expected


FINAL = {200, 201, 202, 204, 206, 299, 301, 302, 303, 304, 400, 402, 404, 405, 410, 413, 415, 422, 451, 499}
TURNS = {100, 101, 401, 403, 408, 409, 425, 429, 500, 501, 502, 503, 504, 599}


@pytest.mark.parametrize("status", sorted(FINAL | TURNS))
def test_an_answer_stays_unless_another_attempt_may_turn_it(status: int) -> None:
    assert is_final(status) is (status in FINAL)
