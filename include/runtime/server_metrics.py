"""A model server's metrics, for Prometheus and for judging a canary.

Plain counters, which prometheus-client reads when it is asked for the exposition: its own take longer to count one
request than a compiled model takes to predict it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import ServerConfig

if TYPE_CHECKING:
    from prometheus_client import Metric

SECONDS = (
    *(
        round(mantissa * 10.0**power, 6)
        for power in range(-3, 1)
        for mantissa in (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8)
    ),
    10.0,
)
"""Upper bounds of the buckets of a request's duration, from 1 ms to 10 s: ten a decade (the series R10 of ISO 3), so
that a quantile is known to about a tenth."""
LABELS = ("model", "version", "environment")
SHORT = 16
"""Fewer values are counted one by one, which takes less time than setting up arrays."""


class Buckets:
    """A histogram's counts."""

    def __init__(self, bounds: Sequence[float]):
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value in the first bucket whose bound it does not exceed."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, values: Sequence[float]) -> None:
        """Count each of the values."""
        if len(values) < SHORT:
            for value in values:
                self.add(value)
            return
        places = np.searchsorted(self.bounds, values, side="left")
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            self.counts[place] += int(count)
        self.sum += sum(values)

    def cumulative(self) -> list[tuple[str, float]]:
        """Each bound as text, and how many values do not exceed it."""
        bounds = [*map(str, map(float, self.bounds)), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


class ServerMetrics:
    """Metrics of prediction requests; other routes are not counted."""

    def __init__(self, config: ServerConfig, edges: Sequence[float]):
        self._labels = (config["model"]["name"], config["version"], config["environment"])
        self._origin = (config["build"], config["release"])
        self._lock = threading.Lock()
        self._rows = 0
        self._seconds, self._predictions = Buckets(SECONDS), Buckets(edges)
        self._codes: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._optional: Counter[tuple[str, ...]] = Counter()
        self._registry: Any = None

    def count(self, code: int, seconds: float) -> None:
        """Record one request that was answered with ``code``."""
        with self._lock:
            self._codes[str(code)] += 1
            self._seconds.add(seconds)

    def observe(self, missing: Mapping[str, int], predictions: Sequence[float]) -> None:
        """Record how many values each feature lacks, and the predictions, of an answered request."""
        with self._lock:
            self._rows += len(predictions)
            self._missing.update(missing)
            self._predictions.add_all(predictions)

    def count_optional(self, optional: Mapping[str, Sequence[str]]) -> None:
        """Record an answered request's optional inputs, by how they were treated."""
        for treated, names in optional.items():
            if names:
                with self._lock:
                    self._optional.update((name, treated) for name in names)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The counts as prometheus-client wants them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        def counter(name: str, about: str, labels: Sequence[str], counts: Mapping[tuple[str, ...], int]) -> Metric:
            family = CounterMetricFamily(name, about, labels=[*LABELS, *labels])
            for values, count in counts.items():
                family.add_metric([*self._labels, *values], count)
            return family

        def histogram(name: str, about: str, buckets: Buckets) -> Metric:
            family = HistogramMetricFamily(name, about, labels=LABELS)
            family.add_metric(self._labels, buckets.cumulative(), buckets.sum)
            return family

        with self._lock:
            yield counter(
                "evergreen_requests",
                "Prediction requests, by status code.",
                ["code"],
                {(code,): count for code, count in self._codes.items()},
            )
            yield counter(
                "evergreen_missing_values",
                "Missing values in prediction requests, by feature.",
                ["feature"],
                {(name,): count for name, count in self._missing.items()},
            )
            yield counter(
                "evergreen_optional_inputs",
                "Requests that lack an optional input (absent), have one that the version does not know (ignored), or "
                "send one as another type (converted).",
                ["input", "treated"],
                self._optional,
            )
            yield counter("evergreen_rows", "Predicted rows.", [], {(): self._rows})
            yield histogram("evergreen_request_seconds", "Duration of prediction requests in seconds.", self._seconds)
            yield histogram("evergreen_prediction", "Predicted values.", self._predictions)
        info = GaugeMetricFamily(
            "evergreen_model_info",
            "The version, build and release that the server serves (always 1).",
            labels=[*LABELS, "build", "release"],
        )
        info.add_metric([*self._labels, *self._origin], 1)
        yield info
