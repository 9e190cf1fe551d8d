"""A request is written down exactly as it was sent, and answered 202 once it is durable (JRN-1, JRN-4)."""

from __future__ import annotations

import asyncio

import pytest
from asgi_stage import Client
from journal_house import JournalHouse, order_scope, ticks, told_by

from holdfast.asgi.journaling import Refusal, Rules
from holdfast.work.entry import name_of
from holdfast.work.events import JournalRefused, RequestJournaled
from holdfast.work.journal import JournalError, JournalFullError


def test_only_routes_that_opted_in_are_taken() -> None:
    house = JournalHouse()

    assert house.journaling.takes("POST", "/orders")
    assert not house.journaling.takes("GET", "/orders")


async def test_a_request_is_kept_as_it_was_sent() -> None:
    house = JournalHouse()
    headers = [(b"content-type", b"text/plain"), (b"x-a", b"1"), (b"x-a", b"\xff2")]
    scope = order_scope(
        path="/orders/ä b", raw_path=b"/orders/%C3%A4%20b", query_string=b"q=%20", headers=headers
    )

    await house.sent(scope, b"one ", b"two")

    new = house.one
    assert (new.method, new.target, new.body, new.client) == (
        "POST",
        "/orders/%C3%A4%20b?q=%20",
        b"one two",
        "10.0.0.9",
    )
    assert [pair for pair in new.headers if not pair[0].startswith(b":")] == headers


async def test_what_the_headers_do_not_say_is_kept_too() -> None:
    """A redirect to https would otherwise be the answer of each journaled request."""
    house = JournalHouse()
    await house.sent(order_scope(root_path="/api", headers=[(b"x-request-id", b"r-1")]))

    told = dict(house.one.headers)
    assert told[b":scheme"] == b"https"
    assert told[b":server"] == b"shop.example 443"
    assert told[b":root-path"] == b"/api"
    assert told[b":request-id"] == b"r-1"


async def test_a_path_that_an_outer_application_has_shortened_is_kept_shortened() -> None:
    house = JournalHouse()
    await house.sent(order_scope(path="/orders/ä", raw_path=b"/mounted/orders/%C3%A4"))

    assert house.one.target == "/orders/%C3%A4"


async def test_the_client_is_told_where_to_ask() -> None:
    house = JournalHouse()
    accepted, client = await house.sent(order_scope(headers=[(b"x-request-id", b"r-1")]))

    assert client.status == 202
    assert client.headers["location"] == f"/operations/{accepted.id}"
    assert client.headers["x-request-id"] == "r-1"
    assert client.headers["cache-control"] == "no-store"
    assert int(client.headers["retry-after"]) >= 1
    told = told_by(client)
    assert (told["id"], told["status"], told["method"], told["path"]) == (
        accepted.id,
        "pending",
        "POST",
        "/orders",
    )
    assert told["operation"] == f"/operations/{accepted.id}"


async def test_the_place_is_told_as_a_proxy_serves_it() -> None:
    accepted, client = await JournalHouse().sent(
        order_scope(root_path="/api"), where="/_holdfast/operations/"
    )

    assert client.headers["location"] == f"/api/_holdfast/operations/{accepted.id}"


async def test_the_journal_knows_only_the_hash_of_an_id() -> None:
    house = JournalHouse()
    accepted, _ = await house.sent(order_scope())

    assert len(accepted.id) == 32
    assert house.one.name == name_of(accepted.id)
    assert accepted.id not in repr(house.one)


async def test_a_browsers_script_may_read_where_to_ask() -> None:
    house = JournalHouse(client_url="https://shop.example")
    house.journaling._cors._known[b"https://shop.example"] = house.journaling._cors._configured(
        b"https://shop.example"
    )
    _, client = await house.sent(order_scope(headers=[(b"origin", b"https://shop.example")]))

    assert client.headers["access-control-allow-origin"] == "https://shop.example"
    assert "Location" in client.headers["access-control-expose-headers"]


async def test_the_clients_key_is_kept_else_one_is_made() -> None:
    house = JournalHouse()
    accepted, _ = await house.accept(order_scope(), Client(), key="given")
    made, _ = await house.accept(order_scope(), Client())

    assert accepted.new.key == "given"
    assert len(made.new.key) == 32


async def test_it_is_told_and_the_worker_is_woken() -> None:
    house = JournalHouse()
    accepted, _ = await house.sent(order_scope())

    (told,) = house.told
    assert isinstance(told, RequestJournaled)
    assert told.number == accepted.number == 1
    assert house.woken == 1


# ---- the order -----------------------------------------------------------------------------------


async def order_of(house: JournalHouse, *headers: tuple[bytes, bytes], client: str = "10.0.0.9") -> str:
    accepted, _ = await house.accept(order_scope(headers=list(headers), client=(client, 1)), Client())
    order: str = accepted.new.order
    return order


async def test_the_order_is_that_of_ones_credentials_else_of_ones_address() -> None:
    house = JournalHouse()
    token = (b"authorization", b"Bearer a")
    cookie = (b"cookie", b"session=1")

    assert await order_of(house, token, client="10.0.0.1") == await order_of(house, token, client="10.0.0.2")
    assert await order_of(house, token) != await order_of(house, (b"authorization", b"Bearer b"))
    assert await order_of(house, token, cookie) == await order_of(house, token)
    assert await order_of(house, (b"x-api-key", b"k"), cookie) == await order_of(house, (b"x-api-key", b"k"))
    assert await order_of(house, cookie) != await order_of(house)
    assert await order_of(house, client="10.0.0.1") != await order_of(house, client="10.0.0.2")


async def test_a_header_may_name_the_order() -> None:
    house = JournalHouse(Rules(order_by="X-User"))
    anna = (b"x-user", b"anna")

    assert await order_of(house, anna, (b"cookie", b"1")) == await order_of(house, anna, (b"cookie", b"2"))
    assert await order_of(house, (b"cookie", b"1")) != await order_of(house, (b"cookie", b"2"))


async def test_credentials_are_not_to_be_read_off_the_order() -> None:
    assert "secret" not in await order_of(JournalHouse(), (b"authorization", b"secret"))


# ---- what cannot be written down -----------------------------------------------------------------


async def test_a_body_over_the_replay_buffer_is_kept_up_to_the_journals_bound() -> None:
    house = JournalHouse(Rules(body_bytes=1000))
    accepted, _ = await house.accept(order_scope(), Client(b"a" * 500, b"b" * 500), bound=100)

    assert len(accepted.new.body) == 1000


async def test_a_body_that_is_too_long_is_refused_without_reading_it_all() -> None:
    """JRN-4."""
    house = JournalHouse(Rules(body_bytes=1000))
    client = Client(*[b"a" * 600] * 9)
    refusal, _ = await house.accept(order_scope(), client)

    assert refusal == Refusal("journal_body_too_large")
    assert client.reads == 2
    assert isinstance(house.told[0], JournalRefused)


async def test_a_body_whose_beginning_the_application_has_taken_is_refused() -> None:
    from holdfast.asgi.body import Body
    from holdfast.asgi.context import request_of

    house = JournalHouse()
    scope = order_scope()
    request = request_of(scope, 30.0)
    body = Body(request, Client(b"a" * 60, b"b" * 60, b"c").receive, 100)
    for _ in range(2):
        await body.receive()

    assert await house.journaling.accept(scope, request, body, None) == Refusal("journal_body_too_large")


async def test_a_client_that_left_before_its_body_was_there_is_dropped() -> None:
    house = JournalHouse()
    client = Client(b"a")
    client.inbox.get_nowait()
    client.give(b"a", more=True)
    client.leave()
    accepted, exchange = await house.accept(order_scope(), client)

    assert accepted is None
    assert exchange.request.abandoned
    assert house.journal.entries == {}


@pytest.mark.parametrize(
    ("error", "code"),
    [(JournalFullError("full"), "journal_full"), (JournalError("locked"), "database_unavailable")],
)
async def test_a_journal_that_cannot_take_it_refuses(error: JournalError, code: str) -> None:
    """JRN-4: when full, 503 as before."""
    house = JournalHouse()
    house.journal.fails = error
    refusal, _ = await house.accept(order_scope(), Client())

    assert refusal == Refusal(code)
    (told,) = house.told
    assert isinstance(told, JournalRefused)
    assert (told.place, house.woken) == ("memory", 0)


async def test_nothing_is_acknowledged_before_it_is_durable() -> None:
    """JRN-1."""
    house = JournalHouse()
    house.journal.silent = []
    accepting = asyncio.ensure_future(house.accept(order_scope(), Client()))
    await ticks()

    assert not accepting.done()
    house.journal.silent[0].set_result(7)
    accepted, _ = await accepting
    assert accepted.number == 7


async def test_what_was_stored_too_late_to_be_acknowledged_is_taken_back() -> None:
    house = JournalHouse(Rules(within_s=0.01))
    house.journal.silent = []
    refusal, _ = await house.accept(order_scope(), Client())
    house.journal.silent[0].set_result(7)

    assert refusal == Refusal("database_unavailable")
    assert house.journal.dropped == [7]


async def test_what_was_stored_after_its_request_ended_is_taken_back() -> None:
    house = JournalHouse()
    house.journal.silent = []
    accepting = asyncio.ensure_future(house.accept(order_scope(), Client()))
    await ticks()
    accepting.cancel()
    await asyncio.wait([accepting])
    house.journal.silent[0].set_result(7)

    assert accepting.cancelled()
    assert house.journal.dropped == [7]
