"""Plain /metrics of one process; the names are public and guarded by a golden file (OBS-2)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast import events
from holdfast.telemetry.metrics import Metrics
from holdfast.work import events as work

GOLDEN = Path(__file__).with_name("metrics.txt")
EVENTS: list[events.Event] = [
    events.DatabaseFound(database="main", target="db:5432", library="sqlalchemy"),
    events.DatabaseLost(database="main", target="db:5432", cause="refused", pool={}),
    events.ReconnectAttempted(database="main", target="db:5432", attempt=1, cause="refused", next_s=0.1),
    events.RequestHeld(request_id="r", method="GET", path="/", database="main"),
    events.RequestReplayed(request_id="r", method="GET", path="/", attempt=2, database="main", cause="x"),
    events.RequestRecovered(request_id="r", method="GET", path="/", status=200, attempts=2, held_s=0.3),
    events.RequestRefused(
        request_id="r", method="GET", path="/", status=503, code="deadline", attempts=1, held_s=1.0
    ),
    events.RequestAbandoned(request_id="r", method="GET", path="/", held_s=1.0),
    events.RequestFailed(
        request_id="r", method="GET", path="/", status=500, category="unknown", error=ValueError()
    ),
    events.AfterAnswerFailed(
        request_id="r", method="POST", path="/", status=200, category="unknown", error=ValueError()
    ),
    events.CommitInDoubt(database="main", request_id="r", cause="reset"),
    events.CommitResolved(database="main", request_id="r", outcome="committed", took_s=0.1),
    work.AnswerReplayed(request_id="r", method="POST", path="/", status=201),
    work.RequestJournaled(request_id="r", method="POST", path="/", number=1),
    work.JournalRefused(request_id="r", place="here", cause="full"),
    work.EntryFinished(number=1, method="POST", path="/", state="done", status=201, attempts=0, waited_s=1.0),
    work.EntryFailed(number=2, method="POST", path="/", state="dead", status=500, attempts=3, waited_s=1.0),
    work.TransactionRetried(database="main", attempt=1, delay_s=0.1, cause="x"),
    events.RetryScheduled(guard="payments", attempt=1, delay_s=0.1, cause="x"),
    events.BreakerChanged(breaker="payments", state="open", failures=5),
    events.UncaughtError(where="task", error=ValueError()),
    events.DatabaseRecovered(database="main", target="db:5432", outage_s=3.0, attempts=2, waiting=1),
]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.served("GET", 200)
    metrics.served("GET", 200)
    metrics.served("POST", 503)
    for event in EVENTS:
        metrics.follow(event)
    metrics.pools(lambda: {"main": {"size": 5, "idle": 2, "active": 3, "waiting": 1, "max": 10}})
    return metrics


def samples(metrics: Metrics) -> dict[str, float]:
    text = metrics.render().decode()
    families = text_string_to_metric_families(text)
    return {
        f"{one.name}{sorted(one.labels.items())}": one.value for family in families for one in family.samples
    }


def test_names_types_and_labels_are_those_of_the_golden_file(metrics):
    found = set()
    for family in text_string_to_metric_families(metrics.render().decode()):
        if family.name.startswith(("holdfast", "db_")):
            for one in family.samples:
                found.add(f"{family.type} {one.name} {{{','.join(sorted(one.labels))}}}")

    assert sorted(GOLDEN.read_text().splitlines()) == sorted(found)


def test_every_kind_of_event_is_counted(metrics):
    found = samples(metrics)

    assert found["holdfast_requests_total[('method', 'GET'), ('status', '200')]"] == 2.0
    assert found["holdfast_requests_held_total[]"] == 1.0
    assert found["holdfast_requests_refused_total[('code', 'deadline')]"] == 1.0
    assert found["holdfast_database_up[('database', 'main')]"] == 1.0
    assert found["holdfast_recovery_seconds_sum[('database', 'main')]"] == 3.0
    assert found["holdfast_recovery_seconds_bucket[('database', 'main'), ('le', '2.5')]"] == 0.0
    assert found["holdfast_recovery_seconds_bucket[('database', 'main'), ('le', '5.0')]"] == 1.0
    assert found["holdfast_request_held_seconds_count[]"] == 1.0


def test_a_lost_database_is_down():
    metrics = Metrics()
    metrics.follow(EVENTS[0])
    metrics.follow(EVENTS[1])

    assert samples(metrics)["holdfast_database_up[('database', 'main')]"] == 0.0


def test_counters_without_labels_are_there_before_anything_happened():
    assert samples(Metrics())["holdfast_requests_replayed_total[]"] == 0.0


def test_methods_that_clients_invent_are_one():
    metrics = Metrics()
    for number in range(50):
        metrics.served(f"X{number}", 405)

    assert samples(metrics)["holdfast_requests_total[('method', 'OTHER'), ('status', '405')]"] == 50.0


def test_a_figure_that_cannot_be_read_is_left_out_and_counted():
    metrics = Metrics()
    metrics.gauge("holdfast_broken", "Raises.", lambda: 1 / 0)
    metrics.gauge("holdfast_waiting", "Requests waiting now.", lambda: 3)
    metrics.counter("holdfast_log_lines_dropped", "Lines dropped.", lambda: {("a",): 2.0}, ("why",))
    found = samples(metrics)

    assert found["holdfast_waiting[]"] == 3.0
    assert found["holdfast_log_lines_dropped_total[('why', 'a')]"] == 2.0
    assert found["holdfast_scrape_errors_total[]"] == 1.0
    assert not [name for name in found if "broken" in name]


def test_a_later_registration_replaces_the_earlier_one():
    metrics = Metrics()
    metrics.gauge("holdfast_waiting", "Requests waiting now.", lambda: 3)
    metrics.gauge("holdfast_waiting", "Requests waiting now.", lambda: 4)

    assert samples(metrics)["holdfast_waiting[]"] == 4.0


def test_pools_are_told_under_opentelemetrys_names(metrics):
    text = metrics.render().decode()

    assert re.search(r'db_client_connection_count\{.*state="used".*\} 3\.0', text)
    assert 'db_client_connection_pending_requests{db_client_connection_pool_name="main"} 1.0' in text


def test_the_snapshot_has_short_names(metrics):
    found = metrics.snapshot()

    assert found["requests"] == 3
    assert found["by_status"] == {"2xx": 2, "5xx": 1}
    assert (found["held"], found["replayed"], found["refused"], found["commits_in_doubt"]) == (1, 1, 1, 1)


def test_another_registry_is_not_mixed_in(metrics):
    from prometheus_client import REGISTRY, Counter

    mine = Counter("shop_orders", "Orders.")
    try:
        assert b"shop_orders" not in metrics.render()
    finally:
        REGISTRY.unregister(mine)
