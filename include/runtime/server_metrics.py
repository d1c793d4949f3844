"""What a model server counts, for Prometheus and for the judge of its canary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("model", "version", "environment")


class ServerMetrics:
    """Counters of prediction requests; other routes are not counted."""

    def __init__(self, config: Mapping[str, Any], edges: Sequence[float]):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        values = {"model": config["model"]["name"], "version": config["version"], "environment": config["environment"]}

        def own(metric: Any) -> Any:
            return metric.labels(*values.values())

        self._requests = Counter(
            "evergreen_requests", "Prediction requests by status code.", [*LABELS, "code"], registry=self.registry
        )
        self._missing = Counter(
            "evergreen_missing_values", "Missing values in requests.", [*LABELS, "feature"], registry=self.registry
        )
        self.rows = own(Counter("evergreen_rows", "Rows predicted.", LABELS, registry=self.registry))
        self.seconds = own(
            Histogram("evergreen_request_seconds", "Time to answer.", LABELS, buckets=SECONDS, registry=self.registry)
        )
        self.prediction = own(
            Histogram("evergreen_prediction", "Predictions.", LABELS, buckets=tuple(edges), registry=self.registry)
        )
        info = Gauge("evergreen_model_info", "What serves.", [*LABELS, "build", "release"], registry=self.registry)
        info.labels(*values.values(), config["build"], config["release"]).set(1)
        self._values = tuple(values.values())

    def count(self, code: int, seconds: float) -> None:
        """One request that was answered with ``code``."""
        self._requests.labels(*self._values, str(code)).inc()
        self.seconds.observe(seconds)

    def observe(self, features: Mapping[str, Sequence[Any]], predictions: Sequence[float]) -> None:
        """What was in an answered request."""
        self.rows.inc(len(predictions))
        for value in predictions:
            self.prediction.observe(value)
        for name, values in features.items():
            missing = sum(value is None for value in values)
            if missing:
                self._missing.labels(*self._values, name).inc(missing)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
