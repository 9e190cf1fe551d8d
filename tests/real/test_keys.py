"""One key, one effect: the same request from many connections, processes and lives (REQ-5)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from keying import TABLE, Client, age, client_of, fresh, noted, placed, raw_status, until
from running import ASYNCPG, PSYCOPG, SYNC, Running, Shop, running

from holdfast.drill.postgresql import PostgreSQL

KEYED = Shop("keyed", "keyed_shop:app", "asyncpg")


def by_name(shop: Shop) -> str:
    return shop.name


@pytest.fixture(scope="module")
def one(shared_postgresql: PostgreSQL) -> Iterator[Running]:
    """The shop that most tests here share."""
    with running(ASYNCPG, ASYNCPG.environment(shared_postgresql)) as one:
        yield one


@pytest.fixture(scope="module")
def keyed(shared_postgresql: PostgreSQL) -> Iterator[Running]:
    """The shop with two databases."""
    shared_postgresql.execute("CREATE DATABASE other")
    url = shared_postgresql.url("asyncpg", "other")
    with running(KEYED, {**KEYED.environment(shared_postgresql), "OTHER_URL": url}) as one:
        yield one


# ── the same key at once ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shop", [ASYNCPG, PSYCOPG, SYNC], ids=by_name)
async def test_twenty_at_once_have_one_effect(shared_postgresql: PostgreSQL, shop: Shop) -> None:
    """Two processes, ten connections to each: one runs, the others are told to wait or get its answer."""
    environment = shop.environment(shared_postgresql)
    with running(shop, environment) as first, running(shop, environment) as second:
        async with client_of(first) as ours, client_of(second) as theirs:
            for _ in range(3):
                reference, key = fresh(), fresh("key")
                asked = [client.order(reference, key) for client in (ours, theirs) for _ in range(10)]
                answers = await asyncio.gather(*asked)

                assert placed(shared_postgresql, reference) == 1
                seen = Counter((one.status, one.code or one.replayed) for one in answers)
                assert seen.pop((201, False)) == 1, first.output + second.output
                told = first.output + second.output
                assert set(seen) <= {(201, True), (409, "idempotency_in_progress")}, told
                assert len({one.body["id"] for one in answers if one.status == 201}) == 1


async def test_the_answer_outlives_the_process(shared_postgresql: PostgreSQL) -> None:
    reference, key = fresh(), fresh("key")
    environment = ASYNCPG.environment(shared_postgresql)
    with running(ASYNCPG, environment) as one:
        async with client_of(one) as client:
            first = await client.order(reference, key)
            again = await client.order(reference, key)
        assert one.stop()[0] == 0
    with running(ASYNCPG, environment) as one:
        async with client_of(one) as client:
            later = await client.order(reference, key)

    assert (first.status, first.replayed) == (201, False)
    for other in (again, later):
        assert (other.status, other.body, other.replayed) == (201, first.body, True)
        assert other.headers["content-type"] == first.headers["content-type"]
        assert other.headers["x-request-id"] != first.headers["x-request-id"]
    assert placed(shared_postgresql, reference) == 1


# ── what a key stands for ────────────────────────────────────────────────────────────────────────


async def test_other_work_under_the_same_key_is_refused(shared_postgresql: PostgreSQL, one: Running) -> None:
    reference, key = fresh(), fresh("key")
    ann, bob = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
    async with client_of(one) as client:
        assert (await client.order(reference, key, ann)).status == 201
        others = [
            await client.order(fresh(), key, ann),
            await client.order(reference, key, bob),
            await client.order(reference, key),
            await client.order(reference, key, {"Cookie": "session=ann"}),
        ]
        same = await client.order(reference, f'"{key}"', ann)

    assert {(one.status, one.code) for one in others} == {(422, "idempotency_mismatch")}
    assert same.replayed, "a structured string is the same key with quotes round it"
    assert placed(shared_postgresql, reference) == 1


async def test_cookies_are_credentials_where_there_is_no_other(one: Running) -> None:
    reference, key = fresh(), fresh("key")
    async with client_of(one) as client:
        assert (await client.order(reference, key, {"Cookie": "session=ann"})).status == 201
        assert (await client.order(reference, key, {"Cookie": "session=ann"})).replayed
        assert (await client.order(reference, key, {"Cookie": "session=bob"})).status == 422


async def test_a_refused_form_is_an_answer_too(shared_postgresql: PostgreSQL, one: Running) -> None:
    key = fresh("key")
    async with client_of(one) as client:
        first = await client.post("/orders", {"reference": 1}, key)
        again = await client.post("/orders", {"reference": 1}, key)

    assert (first.status, again.status, again.replayed) == (422, 422, True)
    assert again.body == first.body


@pytest.mark.parametrize(
    "key",
    [b"", b'""', b"k" * 256, b"k" * 300, b"\xa0", b"a\x85b", b"a\x7fb", b"a\tb", b"a\x01b", b"a\x00b"],
    ids=repr,
)
async def test_what_is_no_key_is_never_an_error_of_ours(one: Running, key: bytes) -> None:
    answer = await asyncio.to_thread(raw_status, one.port, key)

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    if b"problem+json" in answer:  # else the server's own parser has refused it
        assert b"idempotency_key_invalid" in answer


async def test_a_key_of_255_odd_characters_is_a_key(one: Running) -> None:
    answer = await asyncio.to_thread(raw_status, one.port, b"\xe9'\"; --%s?$1" + b"k" * 240)

    assert answer.startswith(b"HTTP/1.1 201 "), answer


async def test_ten_megabytes_with_a_key(shared_postgresql: PostgreSQL, keyed: Running) -> None:
    """More than is kept for running again: known by its beginning and its length."""
    key, body = fresh("key"), b"x" * 10_000_000
    async with client_of(keyed) as client:
        first = await client.post("/long", body, key)
        again = await client.post("/long", body, key)
        longer = await client.post("/long", body + b"x", key)

    assert (first.status, first.body) == (200, {"size": len(body)})
    assert (again.body, again.replayed) == (first.body, True)
    assert longer.status == 422
    assert noted(shared_postgresql, f"long {len(body)}") == 1


# ── what handlers do ─────────────────────────────────────────────────────────────────────────────


async def twice(client: Client, path: str, body: bytes = b"") -> bool:
    """Whether the second time gets the first answer."""
    key = fresh("key")
    first, again = await client.post(path, body, key), await client.post(path, body, key)
    assert first.status < 300, first
    return (again.status, again.body) == (first.status, first.body) and again.replayed


async def test_transactions_side_by_side_are_no_second_attempt(
    shared_postgresql: PostgreSQL, keyed: Running
) -> None:
    what = fresh("beside")
    async with client_of(keyed) as client:
        assert await twice(client, f"/beside/{what}"), keyed.output

    assert noted(shared_postgresql, what) == 4


async def test_what_is_left_running_is_no_second_attempt(
    shared_postgresql: PostgreSQL, keyed: Running
) -> None:
    """Its answer is kept before it commits."""
    what = fresh("later")
    async with client_of(keyed) as client:
        assert await twice(client, f"/later/{what}"), keyed.output
        await until(lambda: noted(shared_postgresql, what) == 1)


async def test_a_route_that_once_needed_no_database_keeps_its_keys(
    shared_postgresql: PostgreSQL, keyed: Running
) -> None:
    async with client_of(keyed) as client:
        assert (await client.post("/maybe", b"dry")).status == 200
        for what in (fresh("maybe"), fresh("maybe")):
            assert await twice(client, "/maybe", what.encode()), keyed.output
            assert noted(shared_postgresql, what) == 1


@pytest.mark.parametrize(("path", "places"), [("both", (1, 1)), ("other", (0, 1))])
async def test_of_several_databases_that_of_the_effect_has_the_key(
    shared_postgresql: PostgreSQL, keyed: Running, path: str, places: tuple[int, int]
) -> None:
    what = fresh(path)
    async with client_of(keyed) as client:
        assert await twice(client, f"/{path}/{what}"), keyed.output

    assert (noted(shared_postgresql, what), noted(shared_postgresql, what, "other")) == places


async def test_done_and_then_broken_is_never_done_again(
    shared_postgresql: PostgreSQL, keyed: Running
) -> None:
    """Its 500 is the answer, for it has committed: no other attempt could turn it."""
    what, key = fresh("broken"), fresh("key")
    async with client_of(keyed) as client:
        first = await client.post(f"/broken/{what}", key=key)
        soon = await client.post(f"/broken/{what}", key=key)
        age(shared_postgresql, 60)
        later = await client.post(f"/broken/{what}", key=key)

    assert (first.status, first.replayed) == (500, False)
    for again in (soon, later):
        assert (again.status, again.body, again.replayed) == (500, first.body, True)
    assert noted(shared_postgresql, what) == 1


# ── the table ────────────────────────────────────────────────────────────────────────────────────


async def test_the_table_dropped_under_it_costs_one_warning(postgresql: PostgreSQL) -> None:
    with running(ASYNCPG, ASYNCPG.environment(postgresql)) as one:
        async with client_of(one) as client:
            assert (await client.order("a", "a")).status == 201
            postgresql.execute(f"DROP TABLE {TABLE}")
            statuses = [(await client.order("b", "b")).status for _ in range(3)]
        told = one.whole_output()

    assert statuses == [201] * 3
    assert told.count("markers_off") == 1, told


async def test_a_role_that_may_create_nothing_is_served_as_ever(postgresql: PostgreSQL) -> None:
    """One warning; requests with keys are run again after a loss as before."""
    postgresql.execute(
        "CREATE TABLE items (id serial PRIMARY KEY, name varchar NOT NULL);"
        "CREATE TABLE orders (id serial PRIMARY KEY, reference varchar NOT NULL, item_id int NOT NULL);"
        "INSERT INTO items (name) VALUES ('tea'); CREATE ROLE keeper LOGIN;"
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO keeper;"
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO keeper"
    )
    with running(ASYNCPG, {"DATABASE_URL": postgresql.url("asyncpg", user="keeper")}) as one:
        async with client_of(one) as client:
            statuses = [(await client.order(f"before-{number}", f"k{number}")).status for number in range(5)]
            await asyncio.to_thread(postgresql.stop, "immediate")
            asking = [asyncio.create_task(client.order(f"in-{n}", f"in{n}")) for n in range(5)]
            await asyncio.to_thread(postgresql.start)
            statuses += [(await one).status for one in asking]
        told = one.whole_output()

    assert statuses == [201] * 10, told
    assert told.count("markers_off") == 1, told
    ((found,),) = postgresql.execute("SELECT count(*) FROM orders")
    assert found == "10"


async def test_the_table_stands_in_the_schema_that_was_named(postgresql: PostgreSQL) -> None:
    postgresql.execute('CREATE SCHEMA "Kept keys"')
    environment = {**ASYNCPG.environment(postgresql), "HOLDFAST_IDEMPOTENCY_SCHEMA": "kept_keys"}
    postgresql.execute("CREATE SCHEMA kept_keys")
    with running(ASYNCPG, environment) as one:
        async with client_of(one) as client:
            assert (await client.order("a", "a")).status == 201
            assert (await client.order("a", "a")).replayed

    found = postgresql.execute(f"SELECT schemaname FROM pg_tables WHERE tablename = '{TABLE}'")
    assert found == [("kept_keys",)], one.output


async def test_what_is_older_than_a_day_is_forgotten(postgresql: PostgreSQL) -> None:
    """All of it, however much there is."""
    environment = ASYNCPG.environment(postgresql)
    with running(ASYNCPG, environment) as one:
        async with client_of(one) as client:
            assert (await client.order("a", "a")).status == 201
        assert one.stop()[0] == 0
    postgresql.execute(
        f"UPDATE {TABLE} SET created_at = now() - interval '23 hours';"
        f"INSERT INTO {TABLE} (key, number, fingerprint, created_at)"
        " SELECT number, 0, '', now() - interval '25 hours' FROM generate_series(1, 25000) AS number"
    )
    with running(ASYNCPG, environment) as one:
        async with client_of(one) as client:
            assert (await client.order("a", "a")).replayed
            assert (await client.order("b", "b")).status == 201
            left = f"SELECT count(*) FROM {TABLE} WHERE created_at < now() - interval '1 day'"
            await until(lambda: postgresql.execute(left) == [("0",)])

    ((found,),) = postgresql.execute(f"SELECT count(*) FROM {TABLE}")
    assert found == "2"
