"""Requests run once, again, or not at all: the truth table, row by row (REQ-4, REQ-6, TXN-4, property 17)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest
from asgi_stage import Client, House, answers, ledger, loses, races, reads
from failing import Failing, housed

from holdfast.asgi.replay import Rules
from holdfast.context import STRAYS
from holdfast.events import AfterAnswerFailed, RequestFailed
from holdfast.policy.replay import Commit

KEY = (b"idempotency-key", b"k-1")


# ── the truth table ──────────────────────────────────────────────────────────────────────────────

AGAIN = (200, None, 2)
TABLE = [
    # commit, safe method, keyed, statements sent, (status, code, runs)
    (Commit.NONE, "GET", False, 1, AGAIN),
    (Commit.NONE, "POST", True, 1, AGAIN),
    (Commit.NONE, "POST", False, 0, AGAIN),
    (Commit.NONE, "POST", False, 1, (503, "database_unavailable", 1)),
    (Commit.ROLLED_BACK, "GET", False, 1, AGAIN),
    (Commit.ROLLED_BACK, "PUT", True, 2, AGAIN),
    (Commit.ROLLED_BACK, "DELETE", False, 1, (503, "database_unavailable", 1)),
    (Commit.SENT, "GET", False, 1, (503, "commit_outcome_unknown", 1)),
    (Commit.SENT, "POST", True, 1, (503, "commit_outcome_unknown", 1)),
    (Commit.SENT, "POST", False, 1, (503, "commit_outcome_unknown", 1)),
    (Commit.UNKNOWN, "GET", False, 1, (503, "commit_outcome_unknown", 1)),
    (Commit.UNKNOWN, "PATCH", True, 1, (503, "commit_outcome_unknown", 1)),
    (Commit.UNKNOWN, "POST", False, 1, (503, "commit_outcome_unknown", 1)),
    (Commit.COMMITTED, "GET", False, 1, AGAIN),
    (Commit.COMMITTED, "POST", True, 1, (503, "applied_but_interrupted", 1)),
    (Commit.COMMITTED, "POST", False, 1, (503, "applied_but_interrupted", 1)),
]


@pytest.mark.parametrize(("commit", "method", "keyed", "sent", "expected"), TABLE)
def test_the_truth_table(run, clock, commit, method, keyed, sent, expected) -> None:
    app = Failing(sent=sent, commit=commit)
    house = housed(app, clock)

    client = run(house.ask(method, headers=[KEY] if keyed else [], client=Client(b"order")))

    code = None if client.status == 200 else client.problem["code"]
    assert (client.status, code, app.runs) == expected


@pytest.mark.parametrize("answer", [409, 500])
def test_an_application_that_tried_again_itself_gives_its_own_answer(run, clock, answer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        loses(house.main)
        ledger().sent += 1  # its own second attempt
        await answers(send, answer, b"its own word")

    house = House(app, clock)

    client = run(house.ask("POST"))

    assert (client.status, client.body) == (answer, b"its own word")


def swallowing(commit: Commit, *, goes_on: bool = False) -> Any:
    """An application whose first attempt loses a transaction, and whose answer is 201 whatever happens."""
    runs: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await reads(receive)
        runs.append(1)
        if len(runs) == 1:
            loses(app.house.main)
            ledger().settled = commit
            ledger().sent += goes_on
        await answers(send, 201, b"done")

    app.runs = runs
    return app


LOST = [(Commit.ROLLED_BACK, "database_unavailable"), (Commit.UNKNOWN, "commit_outcome_unknown")]


@pytest.mark.parametrize(("commit", "code"), LOST)
def test_an_answer_that_acknowledges_what_was_lost_is_none(run, clock, commit, code) -> None:
    """REQ-4: some libraries swallow the error of a COMMIT, and then answer 201."""
    client = run(housed(swallowing(commit), clock).ask("POST"))

    assert (client.status, client.problem["code"]) == (503, code)


def test_with_a_key_it_is_run_again(run, clock) -> None:
    app = swallowing(Commit.ROLLED_BACK)
    client = run(housed(app, clock).ask("POST", headers=[KEY], client=Client(b"order")))

    assert (client.status, client.body, len(app.runs)) == (201, b"done", 2)


@pytest.mark.parametrize(
    ("method", "commit", "goes_on"),
    [
        ("GET", Commit.ROLLED_BACK, False),
        ("POST", Commit.NONE, False),  # a query that failed, and it could do without
        ("POST", Commit.COMMITTED, False),  # what failed came beside its work, or after it
        ("POST", Commit.ROLLED_BACK, True),  # it went on
    ],
)
def test_an_application_that_copes_is_believed(run, clock, method, commit, goes_on) -> None:
    """REQ-4: a 2xx after such a failure means that the application coped."""
    app = swallowing(commit, goes_on=goes_on)
    client = run(housed(app, clock).ask(method, headers=[KEY]))

    assert (client.status, client.body, len(app.runs)) == (201, b"done", 1)


def test_one_that_only_noted_its_failure_does_not(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        error = loses(house.main)
        ledger().sent += 1  # a line in its table of failures
        raise error

    house = House(app, clock)

    client = run(house.ask("POST"))

    assert (client.status, client.problem["code"]) == (503, "database_unavailable")


def test_a_commit_still_on_its_way_is_in_doubt(run, clock) -> None:
    """Whatever ended it: a COMMIT that has been sent is never run again."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledger().pending = 1
        raise loses(house.main)

    house = House(app, clock)

    client = run(house.ask("POST", headers=[KEY]))

    assert (client.status, client.problem["code"]) == (503, "commit_outcome_unknown")


def test_what_is_in_doubt_is_not_to_be_repeated_without_a_key(run, clock) -> None:
    """REQ-6: Retry-After invites, so it is told only to those who can repeat safely."""
    keyed = run(housed(Failing(commit=Commit.UNKNOWN), clock).ask("POST", headers=[KEY]))
    bare = run(housed(Failing(commit=Commit.UNKNOWN), clock).ask("POST"))

    assert "retry-after" in keyed.headers
    assert "retry-after" not in bare.headers


def test_statements_of_strangers_count_as_its_own(run, clock) -> None:
    """A statement whose thread carried no context may have been this request's."""

    class Stray(Failing):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            STRAYS.add()
            await super().__call__(scope, receive, send)

    app = Stray(sent=0)
    client = run(housed(app, clock).ask("POST", headers=[KEY]))

    assert (client.status, app.runs) == (503, 1)


def test_a_body_that_was_too_long_to_keep_is_not_run_again(run, clock) -> None:
    app = Failing()
    client = run(housed(app, clock, rules=Rules(body_bytes=10)).ask("GET", client=Client(b"x" * 11)))

    assert (client.status, app.runs) == (503, 1)


def test_an_answer_that_has_begun_is_never_replayed(run, clock) -> None:
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"row 1\n", "more_body": True})
        raise loses(house.main)

    house = House(app, clock)
    client = Client()

    with pytest.raises(ConnectionResetError):
        run(house.ask("GET", client=client))
    assert len(runs) == 1
    assert (client.status, client.body) == (200, b"row 1\n")


# ── what applications make of a lost connection ──────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
def test_an_error_status_after_a_loss_is_dropped_and_the_request_run_again(run, clock, status) -> None:
    """REQ-4: whatever the application made of its lost connection."""
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        if len(runs) == 1:
            loses(house.main)
            await answers(send, status, b"conflict?")
        else:
            await answers(send)

    house = House(app, clock)
    client = run(house.ask("GET"))

    assert (client.status, client.body, len(runs)) == (200, b"fine", 2)
    assert client.headers["x-app"] == "1"
    assert client.headers["x-request-id"]


def test_a_success_after_a_failure_passes(run, clock) -> None:
    """REQ-4: the application coped."""
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        loses(house.main)
        await answers(send, 200, b"from the cache")

    client = run((house := House(app, clock)).ask("POST"))

    assert (client.status, client.body, len(runs)) == (200, b"from the cache", 1)


def test_an_application_without_an_answer_is_run_again(run, clock) -> None:
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        if len(runs) == 1:
            loses(house.main)
        else:
            await answers(send)

    house = House(app, clock)

    assert run(house.ask("GET")).status == 200


def test_its_own_answer_stands_when_it_lost_nothing(run, clock) -> None:
    """PRM-5: its error envelopes stay its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send, 409, b'{"mine": true}')

    client = run(House(app, clock).ask("POST"))

    assert (client.status, client.body) == (409, b'{"mine": true}')


def test_a_race_that_cannot_be_run_again_keeps_the_applications_own_answer(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        races()
        await answers(send, 409, b"somebody was first")

    client = run(House(app, clock).ask("POST"))

    assert (client.status, client.body) == (409, b"somebody was first")


def test_a_lost_race_backs_off_and_runs_again(run, clock) -> None:
    """POL-2: full jitter, doubling; the database is there, so nobody waits for it."""
    runs: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(clock.now)
        if len(runs) < 3:
            raise races()
        await answers(send)

    client = run(House(app, clock).ask("GET"))

    assert (client.status, len(runs)) == (200, 3)
    assert 0 <= runs[1] - runs[0] <= 0.1
    assert 0 <= runs[2] - runs[1] <= 0.2


def test_no_back_off_goes_past_the_deadline(run, clock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise races()

    house = House(app, clock, rules=Rules(base_delay=1e9))
    client = Client()

    with pytest.raises(RuntimeError):
        run(house.ask("GET", client=client))
    assert clock.now < 1030.0
    assert client.status == 500


def test_what_the_database_failed_after_a_complete_answer_is_told(run, clock) -> None:
    """PRM-3: the client has its answer; a background task's work may be lost, or only a session's close."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answers(send)
        raise loses(house.main)

    house = House(app, clock)
    client = run(house.ask("POST", "/orders"))

    assert client.status == 200
    (failed,) = house.of(AfterAnswerFailed)
    assert (failed.method, failed.path, failed.status) == ("POST", "/orders", 200)
    assert (type(failed.error), failed.level) == (ConnectionResetError, "warning")


@pytest.mark.parametrize("coped", [False, True])
def test_a_bug_after_a_complete_answer_is_told_with_the_status_the_client_had(
    run, clock, told, coped
) -> None:
    """PRM-3: nobody was answered 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if coped:
            loses(house.main)
        await answers(send, 201)
        raise ValueError("no such template")

    house = House(app, clock)

    with pytest.raises(ValueError):
        run(house.ask("POST"))

    assert [one.status for one in told if isinstance(one, RequestFailed)] == [201]
    assert house.of(AfterAnswerFailed) == []


# ── how often ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
def test_attempts_never_exceed_the_maximum(run, clock, attempts) -> None:
    """Property 7."""
    app = Failing(times=100)
    house = housed(app, clock, rules=Rules(attempts=attempts))

    client = run(house.ask("GET"))

    assert app.runs == attempts
    assert (client.status, client.problem["code"]) == (503, "database_unavailable")


def test_a_refusal_before_anything_was_tried_is_no_attempt(run, clock) -> None:
    """The hooks refuse at once while the database is away: that costs the request none of its attempts."""
    runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        if len(runs) <= 5:
            one = ledger()
            error = loses(house.main, sent=0)
            one.attempts = 0
            raise error
        await answers(send)

    house = House(app, clock, rules=Rules(attempts=2))

    assert run(house.ask("POST")).status == 200


# ── attempts and each other ──────────────────────────────────────────────────────────────────────

MOOD: ContextVar[str] = ContextVar("mood", default="calm")


def test_attempts_do_not_see_each_others_contextvars(run, clock) -> None:
    moods = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        moods.append(MOOD.get())
        MOOD.set("upset")
        if len(moods) < 3:
            raise loses(house.main)
        await answers(send)

    house = House(app, clock)
    run(house.ask("GET"))

    assert moods == ["calm"] * 3


def test_attempts_do_not_see_what_others_wrote_into_the_scope(run, clock) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(("user" in scope, "cached" in scope.get("state", {})))
        scope["user"] = "ann"
        scope.setdefault("state", {})["cached"] = True
        if len(seen) < 2:
            raise loses(house.main)
        await answers(send)

    house = House(app, clock)
    run(house.ask("GET"))

    assert seen == [(False, False)] * 2


def test_every_attempt_has_a_ledger_of_its_own(run, clock) -> None:
    ledgers = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ledgers.append(ledger())
        if len(ledgers) < 2:
            raise loses(house.main)
        await answers(send)

    house = House(app, clock)
    run(house.ask("GET"))

    assert ledgers[0] is not ledgers[1]
    assert (ledgers[1].sent, ledgers[1].fault) == (0, None)


def test_every_attempt_reads_the_whole_body(run, clock) -> None:
    bodies = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bodies.append(await reads(receive))
        if len(bodies) < 3:
            raise loses(house.main)
        await answers(send)

    house = House(app, clock)
    run(house.ask("PUT", headers=[KEY], client=Client(b"an ", b"order")))

    assert bodies == [b"an order"] * 3
