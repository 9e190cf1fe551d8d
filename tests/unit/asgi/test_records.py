"""What an application logs of its lost database is read as soon as its answer is (LOG-5, LOG-1, PRM-5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from asgi_stage import House, answers, ledger, loses, turns

from holdfast.telemetry import gates
from holdfast.telemetry.incidents import Incidents

shop = logging.getLogger("shop")


@pytest.fixture
def incidents(clock) -> Iterator[Incidents]:
    keeper = Incidents(clock)
    gates.install(keeper)
    yield keeper
    gates.uninstall(keeper)


def placed(app: Any, clock: Any, incidents: Incidents) -> House:
    house = House(app, clock)
    house.replay.records = incidents
    return house


@pytest.mark.parametrize("kept", [False, True])
def test_what_an_application_that_coped_logged_is_told_with_its_answer(
    run, clock, incidents, caplog, kept
) -> None:
    """LOG-5: it caught the loss, said so, and answered from its cache."""
    lingering = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().open_writes = int(kept)
        loses(house.main)
        shop.error("using the cache")
        assert caplog.messages == []
        await answers(send)
        await lingering.wait()

    house = placed(app, clock, incidents)

    async def story() -> None:
        asking = house.asks("GET")
        await turns()
        if not kept:
            assert caplog.messages == ["using the cache"]
        lingering.set()
        await asking

    run(story())

    assert caplog.messages == ["using the cache"]


def test_what_a_request_logged_is_told_though_its_failure_was_undone(run, clock, incidents, caplog) -> None:
    """LOG-5: a transaction that was run again takes its failure off the ledger."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loses(house.main)
        shop.warning("once more")
        ledger().fault = None

    house = placed(app, clock, incidents)

    run(house.ask("GET"))

    assert caplog.messages == ["once more"]


def test_what_a_request_logged_is_told_though_it_is_cancelled(run, clock, incidents, caplog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        loses(house.main)
        shop.error("no answer yet")
        await asyncio.Event().wait()

    house = placed(app, clock, incidents)

    async def story() -> None:
        asking = house.asks("GET")
        await turns()
        assert caplog.messages == []
        asking.cancel()
        await asyncio.wait([asking])

    run(story())

    assert caplog.messages == ["no answer yet"]


def test_what_a_replayed_attempt_logged_stays_unsaid(run, clock, incidents, caplog) -> None:
    """LOG-5."""
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        if len(runs) == 1:
            shop.error("not an attempt's failure yet")
            error = loses(house.main)
            shop.error("could not read")
            raise error
        await answers(send)

    house = placed(app, clock, incidents)

    run(house.ask("GET"))

    assert (len(runs), caplog.messages) == (2, ["not an attempt's failure yet"])
    assert incidents.forgotten == 1
