"""Routes named in settings (JRN-1, REQ-5)."""

from __future__ import annotations

import pytest

from holdfast.policy.routes import Routes


@pytest.mark.parametrize(
    ("names", "method", "path", "among"),
    [
        (["POST /orders"], "POST", "/orders", True),
        (["post /orders"], "POST", "/orders", True),
        (["POST /orders"], "GET", "/orders", False),
        (["POST /orders"], "POST", "/orders/1", False),
        (["POST /orders/"], "POST", "/orders", False),
        (["PUT /items/{id}"], "PUT", "/items/7", True),
        (["PUT /items/{id}"], "PUT", "/items/7/price", False),
        (["PUT /items/{id}/price"], "PUT", "/items/7/price", True),
        (["* /api/*"], "DELETE", "/api/a/b", True),
        (["* /api/*"], "DELETE", "/apis", False),
        (["POST /a.b"], "POST", "/aXb", False),
        (["POST /a.b/{x}"], "POST", "/aXb/1", False),
        ([], "POST", "/orders", False),
    ],
)
def test_a_route_is_among_them(names: list[str], method: str, path: str, among: bool) -> None:
    assert ((method, path) in Routes(names)) is among


@pytest.mark.parametrize("name", ["", "/orders", "POST", "POST orders", "POST /a b", "PO ST /a"])
def test_what_is_no_route_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="is no route; write a method and a path"):
        Routes([name])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PSOT /before", "did you mean POST?"),
        ("pots /a", "did you mean POST?"),
        ("ZZZ /a", "it must be GET, "),
    ],
)
def test_a_method_that_somebody_misspelt_is_told(name: str, hint: str) -> None:
    """JRN-1, ENV-3: it would match no request; an application's own methods are its own matter."""
    with pytest.raises(ValueError, match="a method that nobody sends") as told:
        Routes.written(["POST /orders", name])

    assert hint in str(told.value)
    assert Routes([name])
    assert Routes.written(["* /dav/*", "query /orders"]).names == ("* /dav/*", "query /orders")


def test_none_is_false() -> None:
    assert not Routes()
    assert Routes(["GET /"])
