"""How long a journaled request waits before it is written down: never up to its deadline (JRN-1)."""

from __future__ import annotations

import pytest
from asgi_stage import Client, House, away, scope_of
from failing import Failing, housed
from journal_house import JournalHouse

from holdfast.asgi.context import request_of
from holdfast.asgi.postponing import Postponing

AFTER_S = 8.0


def journaled(house: House) -> JournalHouse:
    """Have `POST /orders` of *house* written down."""
    journal = JournalHouse()
    house.replay.postponing = Postponing(house.replay, journal.journaling, "/operations/", AFTER_S)
    return journal


@pytest.mark.parametrize(
    ("timeout", "patience"),
    [
        (30.0, 8.0),
        (9.0, 8.0),
        (8.5, 7.5),
        (8.0, 7.0),
        (5.0, 4.0),
        (2.0, 1.0),
        (1.0, 0.5),
        (0.1, 0.05),
        (0.0, 0.0),
    ],
)
def test_what_a_deadline_leaves_of_the_patience(clock, timeout: float, patience: float) -> None:
    scope = scope_of("POST", "/orders", ())
    scope["holdfast"] = request_of(scope, timeout)
    house = housed(Failing(0), clock)
    journaled(house)

    assert house.replay.postponing.patience_of(scope) == pytest.approx(patience)
    clock.now += 60.0  # past every deadline
    assert house.replay.postponing.patience_of(scope) == 0.0


@pytest.mark.parametrize("timeout", [30.0, 8.0, 5.0, 2.0, 0.5])
@pytest.mark.parametrize("entered", [True, False])
def test_a_short_deadline_does_not_take_the_journal_away(run, clock, timeout: float, entered: bool) -> None:
    """Whether the database is lost inside, or the route is known to need it."""
    app = Failing(9, sent=0)
    house = housed(app, clock, timeout=timeout)
    journal = journaled(house)
    if not entered:
        house.replay.needs.learn("POST", "/orders", {"main"})

    async def story() -> Client:
        away(house.main)
        return await house.ask("POST", "/orders")

    client = run(story())

    assert client.status == 202
    assert journal.one.target == "/orders"
    assert app.runs == (1 if entered else 0)
    assert clock.now - 1000.0 <= min(AFTER_S, timeout - min(1.0, timeout / 2))


def test_a_route_that_is_not_journaled_waits_until_its_deadline(run, clock) -> None:
    house = housed(Failing(9, sent=0), clock, timeout=5.0)
    journaled(house)

    async def story() -> Client:
        away(house.main)
        return await house.ask("POST", "/items")

    assert run(story()).status == 504
    assert clock.now == pytest.approx(1005.0)
