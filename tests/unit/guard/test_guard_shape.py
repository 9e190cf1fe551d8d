"""What a guard may stand round, what it keeps, what it costs (POL-7, PRF-1)."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module

import pytest
from guard_scripts import RETRY, Scripted

import holdfast
from holdfast.guard import Guard, guard
from holdfast.policy.breaker import Breaker


def test_a_success_costs_at_most_ten_function_calls(make) -> None:
    """PRF-1, counted as benchmarks/guard.py does: the wrapper and the guarded function included."""

    def nothing() -> None:
        pass

    guarded = make(timeout=2, retry=RETRY, breaker=Breaker())(nothing)
    kinds = []
    guarded()
    sys.setprofile(lambda frame, kind, arg: kinds.append(kind))
    guarded()
    sys.setprofile(None)

    assert sum(kind in {"call", "c_call"} for kind in kinds) - 1 <= 10


def test_a_guarded_function_keeps_its_name_and_works_as_a_method(make) -> None:
    class Shop:
        @make(timeout=2)
        def price(self, sku: str) -> str:
            """What it costs."""
            return f"{sku}: 3"

    assert (Shop.price.__name__, Shop.price.__doc__) == ("price", "What it costs.")
    assert Shop().price("tea") == "tea: 3"


def test_a_generator_function_is_refused(make) -> None:
    def rows():
        yield 1

    with pytest.raises(TypeError, match=r"cannot guard the generator function .*rows"):
        make()(rows)


def test_a_plain_function_that_returns_a_coroutine_is_refused(make) -> None:
    async def fetch() -> int:
        return 1

    with pytest.raises(TypeError, match="make it `async def`"):
        make()(lambda: fetch())()


def test_so_is_one_that_returns_a_coroutine_only_the_second_time(make) -> None:
    async def fetch() -> int:
        return 1

    work = Scripted(ConnectionResetError())

    with pytest.raises(TypeError, match="make it `async def`"):
        make(retry=RETRY)(lambda: (work(), fetch())[1])()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_an_impossible_timeout_is_refused(timeout) -> None:
    with pytest.raises(ValueError, match="guard 'payments' has timeout"):
        guard("payments", timeout=timeout)


def test_an_awaited_success_costs_at_most_ten_function_calls(make, run) -> None:
    """PRF-1, counted as benchmarks/guard.py does: the wrapper and the guarded function included."""

    async def nothing() -> None:
        pass

    guarded = make(timeout=2, retry=RETRY, breaker=Breaker())(nothing)

    async def story() -> int:
        kinds = []
        await guarded()
        sys.setprofile(lambda frame, kind, arg: kinds.append(kind))
        await guarded()
        sys.setprofile(None)
        return sum(kind in {"call", "c_call"} for kind in kinds) - 1

    assert run(story()) <= 10


def test_an_async_generator_function_is_refused(make) -> None:
    async def rows():
        yield 1

    with pytest.raises(TypeError, match=r"cannot guard the generator function .*rows"):
        make()(rows)


def test_the_public_name_works_whatever_was_imported_before() -> None:
    import_module("holdfast.guard.shell")

    assert holdfast.guard("tax", timeout=1)(lambda: 3)() == 3
    assert isinstance(holdfast.guard("tax"), Guard)


def test_class_and_static_methods_may_be_guarded_from_outside(make, run) -> None:
    """POL-7: the guard goes inside the descriptor."""

    class Shop:
        @make(timeout=2)
        @classmethod
        def name(cls) -> str:
            return cls.__name__

        @make(timeout=2)
        @staticmethod
        def double(sku: int) -> int:
            return 2 * sku

        @make(timeout=2)
        @staticmethod
        async def later(sku: int) -> int:
            return sku

    assert (Shop.name(), Shop().name(), Shop.double(3), Shop().double(3)) == ("Shop", "Shop", 6, 6)
    assert run(Shop().later(3)) == 3


class Rows:
    def __call__(self):
        yield 1

    def rows(self):
        yield 1


class Fetch:
    async def __call__(self, order: int) -> int:
        return order


@pytest.mark.parametrize("call", [Rows(), partial(Rows()), partial(Rows().rows), staticmethod(Rows.rows)])
def test_a_generator_in_disguise_is_refused(make, call) -> None:
    """POL-7."""
    with pytest.raises(TypeError, match=r"cannot guard the generator function .*Rows"):
        make()(call)


def test_a_partial_of_an_awaited_object_is_awaited_and_a_class_is_called(make, run) -> None:
    """POL-7."""
    assert run(make()(partial(Fetch(), 3))()) == 3
    assert isinstance(make()(Fetch)(), Fetch)
