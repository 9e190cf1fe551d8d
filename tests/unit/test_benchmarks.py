"""The report of the benchmarks says what was measured and judges it. Nothing is timed here."""

from __future__ import annotations

import importlib
import math

import pytest
from benchmarks.__main__ import FIGURES
from benchmarks.report import markdown, met, row, table
from benchmarks.statistic import percentile, quartiles

FAST = row("PRF-3", "hook, µs; peer: events", 1.2, 5.4, target="≤ 2.0 µs", spread="1.1–1.3")
SLOW = row("PRF-2", "requests/s; peer: uvicorn", 900.0, 1000.0, target="≥ 0.95 ×")
PLAIN = row("PRF-5", "median, ms", 0.4)


@pytest.mark.parametrize(
    ("target", "ours", "peer", "expected"),
    [
        ("≤ 2.0 µs", 2.0, 4.0, True),
        ("≤ 2.0 µs", 2.1, 4.0, False),
        ("≥ 0.95 ×", 95.0, 100.0, True),
        ("≥ 0.95 ×", 94.0, 100.0, False),
        ("≤ 2.0 × floor, ≤ 1.0 µs", 0.9, 0.5, True),
        ("≤ 2.0 × floor, ≤ 1.0 µs", 0.9, 0.4, False),
        ("≤ 2.0 × floor, ≤ 1.0 µs", 1.1, 0.9, False),
        ("≤ 0.04 × (25 × less)", 1.0, 27.0, True),
        ("≤ 10", 10.0, None, True),
        ("≥ 0.95 ×", 95.0, None, False),
        (None, 1.0, 2.0, None),
    ],
)
def test_a_target_is_read_as_people_read_it(target, ours, peer, expected):

    assert met(row("PRF-1", "it", ours, peer, target=target)) is expected


def test_a_target_that_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="target 'soon' of 'it'"):
        met(row("PRF-1", "it", 1.0, target="soon"))


def test_a_value_that_was_never_reached_misses_its_target():

    assert met(row("PRF-4", "it", math.inf, target="≤ 100.0 ms")) is False


def test_a_ratio_measured_in_pairs_is_not_the_ratio_of_the_medians():

    assert row("PRF-2", "it", 2.0, 4.0, ratio=0.6)["ratio"] == 0.6
    assert row("PRF-2", "it", 2.0, 4.0)["ratio"] == 0.5


def test_the_table_tells_met_from_missed():
    told = table([FAST, SLOW, PLAIN]).splitlines()

    assert "1.2  peer 5.4  ratio 0.222  ≤ 2.0 µs  met  1.1–1.3" in told[1]
    assert "MISSED" in told[3]
    assert told[5].strip() == "0.4"


def test_the_results_name_versions_machine_and_what_is_missed():
    text = markdown([SLOW, FAST, PLAIN], took=12.0, load=((0.5,), (1.5,)), notes=("load by wrk",))

    assert "| hook, µs; peer: events | 1.2 | 5.4 | 0.222 | 1.1–1.3 | ≤ 2.0 µs | yes |" in text
    assert "| requests/s; peer: uvicorn | 900 | 1,000 | 0.9 |  | ≥ 0.95 × | **no** |" in text
    assert text.index("## PRF-2 Throughput") < text.index("## PRF-3") < text.index("## PRF-5")
    assert "load 0.5 at the beginning, 1.5 at the end" in text
    assert "sqlalchemy 2" in text
    assert "- load by wrk" in text


def test_p99_of_twenty_is_the_worst():

    assert percentile(range(1, 21), 0.99) == 20
    assert percentile(range(1, 1001), 0.99) == 991
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == "2.00–4.00"
    assert quartiles([1.0]) == ""


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "guard"])
def test_every_figure_can_be_run(name):
    pytest.importorskip("uvloop")

    assert callable(importlib.import_module(f"benchmarks.{name}").run)
