"""Which routes need which database is learned from what they used (REQ-3)."""

from __future__ import annotations

import pytest

from holdfast.asgi.needs import Needs, shape


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/items", "/items"),
        ("/items/17", "/items/{}"),
        ("/users/ann@example.org/orders", "/users/{}/orders"),
        ("/orders/0c6f7a52-7d5c-4b4f-9a63-3a2b5b1c9d10", "/orders/{}"),
        ("/orders/deadbeefdeadbeefdead", "/orders/{}"),
        ("/files/" + "x" * 33, "/files/{}"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_segments_that_look_like_values_are_taken_out(path: str, expected: str) -> None:
    assert shape(path) == expected


def test_what_a_route_used_it_needs() -> None:
    needs = Needs()
    needs.learn("GET", "/items/1", {"main"})

    assert needs.of("GET", "/items/2") == {"main"}
    assert needs.of("POST", "/items/2") == frozenset()
    assert needs.of("GET", "/other") == frozenset()


def test_what_it_once_did_without_it_does_not_need() -> None:
    needs = Needs()
    needs.learn("GET", "/items", {"main", "search"})
    needs.learn("GET", "/items", {"main"})
    needs.learn("GET", "/items", {"main", "search"})

    assert needs.of("GET", "/items") == {"main"}
    needs.learn("GET", "/items", set())
    needs.learn("GET", "/items", {"main"})
    assert needs.of("GET", "/items") == frozenset()


def test_what_is_known_is_bounded() -> None:
    """Property 19: paths nobody could foresee do not fill the memory."""
    needs = Needs()
    for number in range(5000):
        letters = "".join(chr(97 + int(digit)) for digit in str(number))
        needs.learn("GET", f"/{letters}", {"main"})

    assert len(needs._known) == 4096
