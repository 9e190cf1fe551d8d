"""Figures as Prometheus' text: the only file that knows its library, imported at the first scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.telemetry.metrics import Figure


def text_of(figures: Callable[[], Iterable[Figure]]) -> Callable[[], bytes]:
    """A function that renders what *figures* gives, and the process' own figures, at each call.

    The registry is our own: what the application registers in the default one is not mixed in.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(figures))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)


class _Families(Collector):
    """What the library asks at a scrape."""

    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read anyone's figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures as families."""
        for figure in self._figures():
            yield _family(figure)


def _family(figure: Figure) -> Metric:
    if figure.kind == "histogram":
        histogram = HistogramMetricFamily(figure.name, figure.help, labels=figure.labels)
        for labels, buckets in figure.histograms.items():
            histogram.add_metric(labels, list(buckets.cumulative), buckets.sum)
        return histogram
    kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    family = kind(figure.name, figure.help, labels=figure.labels)
    for labels, value in figure.samples.items():
        family.add_metric(labels, value)
    return family
