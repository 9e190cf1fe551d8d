"""The body of a request: recorded, given again, and the client behind it watched (REQ-3, REQ-4)."""

from __future__ import annotations

import asyncio

import pytest
from asgi_stage import Client, reads, turns

from holdfast.asgi.body import Body, BodyTooLongError, ClientGoneError
from holdfast.context import Request

GONE = {"type": "http.disconnect"}


def made(client: Client, bound: int = 100) -> tuple[Request, Body]:
    request = Request("r-1", "POST", "/orders", 1000.0, 1030.0)
    return request, Body(request, client.receive, bound)


async def test_every_attempt_reads_the_same_chunks() -> None:
    client = Client(b"one ", b"", b"two")
    request, body = made(client)

    first = await reads(body.receive)
    body.rewind()
    second = await reads(body.receive)

    assert (first, second) == (b"one two", b"one two")
    assert client.reads == 3
    assert request.body_whole


async def test_an_attempt_that_stopped_half_way_is_followed_by_one_that_reads_all() -> None:
    _, body = made(Client(b"one ", b"two ", b"three"))

    assert (await body.receive())["body"] == b"one "
    body.rewind()
    assert await reads(body.receive) == b"one two three"


async def test_a_body_at_the_bound_is_kept() -> None:
    request, body = made(Client(b"x" * 100), bound=100)

    assert len(await reads(body.receive)) == 100
    assert request.body_whole


async def test_a_body_over_the_bound_is_served_and_not_kept() -> None:
    """REQ-4: it reaches the application whole, and the request cannot be run again."""
    parts = [bytes([65 + n]) * 40 for n in range(8)]
    request, body = made(Client(*parts), bound=100)

    assert await reads(body.receive) == b"".join(parts)
    assert not request.body_whole
    assert not request.may_run_again()
    assert body._kept == []


async def test_what_was_read_ahead_over_the_bound_is_still_served() -> None:
    client = Client(b"a" * 80, b"b" * 80, b"c")
    request, body = made(client, bound=100)
    body.watch(lambda: None)
    await turns()
    body.unwatch()

    assert await reads(body.receive) == b"a" * 80 + b"b" * 80 + b"c"
    assert not request.body_whole


async def test_reading_ahead_stops_at_the_bound() -> None:
    """Property 19: a held request costs its bound, and not what its client sends."""
    client = Client(*[b"x" * 60] * 50)
    _, body = made(client, bound=100)

    body.watch(lambda: None)
    await turns(200)

    assert client.reads == 2


async def test_a_client_is_watched_though_its_body_ended_beyond_the_bound() -> None:
    """REQ-3: nothing more can come of it, so that looking on keeps nothing more."""
    client = Client(b"x" * 60, b"x" * 60)
    request, body = made(client, bound=100)
    noticed: list[bool] = []
    body.watch(lambda: noticed.append(True))
    await turns()
    assert (noticed, client.reads) == ([], 3)

    client.leave()
    await turns()

    assert (noticed, request.abandoned) == ([True], True)


async def test_a_client_that_left_with_the_rest_unread_is_found_when_asked_for() -> None:
    """REQ-3: before its turn is used, and not while it waits."""
    client = Client(*[b"x" * 60] * 5)
    client.leave()
    _, body = made(client, bound=100)
    noticed: list[bool] = []
    body.watch(lambda: noticed.append(True))
    await turns(50)
    body.unwatch()
    assert (noticed, client.reads) == ([], 2)

    assert await body.has_left_beyond()


async def test_a_client_that_left_in_the_middle_of_its_body_is_found_when_asked_for() -> None:
    client = Client()
    client.inbox.get_nowait()
    for _ in range(5):
        client.give(b"x" * 60, more=True)
    client.leave()
    _, body = made(client, bound=100)
    body.watch(lambda: None)
    await turns(50)
    body.unwatch()

    assert await body.has_left_beyond()


@pytest.mark.parametrize("parts", [3, 5, 60])
async def test_a_client_that_is_still_there_loses_nothing_by_being_asked_for(parts) -> None:
    """Property 19: what is read to find out is bounded, and reaches the application once."""
    sent = [bytes([65 + number % 26]) * 40_000 for number in range(parts)]
    client = Client(*sent)
    _, body = made(client, bound=100)
    body.watch(lambda: None)
    await turns(50)
    body.unwatch()

    assert not await body.has_left_beyond()
    assert client.reads <= 1024 * 1024 // 40_000 + 3
    assert await reads(body.receive) == b"".join(sent)
    body.close()


@pytest.mark.parametrize("parts", [1, 3, 60])
async def test_a_client_that_is_there_loses_nothing_by_being_asked_for_at_first(parts) -> None:
    """PRF-8, property 19: the same, where nothing has been read."""
    sent = [bytes([65 + number % 26]) * 40_000 for number in range(parts)]
    client = Client(*sent)
    _, body = made(client, bound=100_000)

    assert not await body.has_left_unread()
    assert client.reads <= 1024 * 1024 // 40_000 + 3
    assert await reads(body.receive) == b"".join(sent)
    body.close()


async def test_a_client_that_left_before_anything_was_read() -> None:
    """PRF-8."""
    client = Client(b"whole")
    client.leave()
    _, body = made(client)

    assert await body.has_left_unread()


async def test_nobody_asks_where_the_watch_sees_all() -> None:
    client = Client(b"whole")
    _, body = made(client)
    body.watch(lambda: None)
    await turns()
    body.unwatch()
    reads_before = client.reads

    assert not await body.has_left_beyond()
    assert client.reads == reads_before
    body.close()


async def test_a_client_that_leaves_while_watched_is_noticed_at_once() -> None:
    client = Client(b"whole")
    request, body = made(client)
    noticed: list[bool] = []
    body.watch(lambda: noticed.append(True))
    await turns()

    assert noticed == []
    client.leave()
    await turns()
    assert noticed == [True]
    assert request.abandoned


async def test_a_client_that_had_left_is_noticed_when_watching_begins() -> None:
    client = Client()
    client.leave()
    _, body = made(client)
    await reads(body.receive)
    assert await body.receive() == GONE

    noticed: list[bool] = []
    body.watch(lambda: noticed.append(True))

    assert noticed == [True]


async def test_after_the_body_the_application_waits_for_its_client_to_leave() -> None:
    client = Client(b"whole")
    request, body = made(client)
    await reads(body.receive)
    client.leave()

    assert await body.receive() == GONE
    assert await body.receive() == GONE
    assert not request.abandoned  # the application knows, and decides


async def test_what_is_read_ahead_reaches_the_application_once() -> None:
    client = Client(b"one ", b"two")
    _, body = made(client)
    body.watch(lambda: None)
    await turns()
    body.unwatch()
    client.leave()

    assert await reads(body.receive) == b"one two"
    assert await body.receive() == GONE


async def test_a_server_that_fails_while_reading_ahead_counts_as_a_client_gone() -> None:
    async def receive() -> dict[str, object]:
        raise ConnectionResetError("reset")

    request = Request("r-1", "GET", "/", 1000.0, 1030.0)
    body = Body(request, receive, 100)
    body.watch(lambda: None)
    await turns()

    assert await body.receive() == GONE


async def test_hanging_up_tells_a_reader_that_its_client_is_gone() -> None:
    """SHD-1: a stream that waits for its client to leave learns that we stop."""
    client = Client(b"whole")
    _, body = made(client)
    await reads(body.receive)

    body.hang_up()

    assert await body.receive() == GONE


async def test_hanging_up_wakes_a_reader_that_already_waits_for_its_client_to_leave() -> None:
    """SHD-1: as Starlette's streams do."""
    client = Client(b"whole")
    _, body = made(client)
    await reads(body.receive)
    listening = asyncio.ensure_future(body.receive())
    await turns()
    assert not listening.done()

    body.hang_up()

    assert await listening == GONE
    body.close()


async def test_a_listener_that_gives_up_loses_nothing() -> None:
    client = Client(b"whole")
    _, body = made(client)
    await reads(body.receive)
    listening = asyncio.ensure_future(body.receive())
    await turns()
    listening.cancel()
    await turns()
    client.leave()

    assert await body.receive() == GONE
    assert client.reads == 2


async def test_closing_ends_a_read_under_way() -> None:
    client = Client(b"whole")
    _, body = made(client)
    body.watch(lambda: None)
    await turns()
    ahead = body._ahead
    assert ahead is not None

    body.close()
    await turns()

    assert ahead.cancelled()


# ---- the whole of it, without the application -----------------------------------------------------


async def test_the_rest_is_read_and_can_still_be_given() -> None:
    """JRN-1: what is written down is the request as it was sent."""
    client = Client(b"one ", b"two ", b"three")
    _, body = made(client)
    await body.receive()

    assert await body.whole(100) == b"one two three"
    assert await reads(body.receive) == b"one two three"
    assert client.reads == 3


async def test_the_whole_of_a_body_over_the_replay_buffer() -> None:
    _, body = made(Client(b"a" * 80, b"b" * 80), bound=100)

    assert await body.whole(160) == b"a" * 80 + b"b" * 80
    assert await reads(body.receive) == b"a" * 80 + b"b" * 80


async def test_a_body_that_is_longer_than_asked_for_is_read_no_further() -> None:
    client = Client(*[b"a" * 80] * 5)
    _, body = made(client)

    with pytest.raises(BodyTooLongError):
        await body.whole(100)
    assert client.reads == 2
    assert body.beginning() == b"a" * 160


async def test_the_whole_is_there_when_what_was_read_ahead_was_all() -> None:
    client = Client(b"one")
    _, body = made(client)
    body.watch(lambda: None)
    await turns()
    body.unwatch()

    assert await body.whole(100) == b"one"
    body.close()


async def test_the_rest_arrives_while_it_is_read_ahead() -> None:
    client = Client()
    client.inbox.get_nowait()
    client.give(b"one ", more=True)
    _, body = made(client)
    body.watch(lambda: None)
    await turns()
    reading = asyncio.ensure_future(body.whole(100))
    await turns()
    client.give(b"two")

    assert await reading == b"one two"
    body.close()


async def test_a_client_that_leaves_before_the_end_has_no_whole_body() -> None:
    client = Client()
    client.inbox.get_nowait()
    client.give(b"one ", more=True)
    client.leave()
    _, body = made(client)

    with pytest.raises(ClientGoneError):
        await body.whole(100)


async def test_a_body_whose_beginning_is_gone_is_not_whole() -> None:
    _, body = made(Client(b"a" * 60, b"b" * 60, b"c"), bound=100)
    for _ in range(2):
        await body.receive()

    with pytest.raises(BodyTooLongError):
        await body.whole(1000)


async def test_more_can_be_kept_than_was_said_at_first() -> None:
    """JRN-1: what is written down is the whole body, though it is over the replay buffer."""
    request, body = made(Client(b"a" * 60, b"b" * 60, b"c"), bound=100)
    body.keep(1000)
    body.keep(10)
    for _ in range(3):
        await body.receive()

    assert request.body_whole
    assert len(await body.whole(1000)) == 121
