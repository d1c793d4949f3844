"""A model server's metrics, for Prometheus and for judging a canary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from .config import ServerConfig

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("model", "version", "environment")


class ServerMetrics:
    """Metrics of prediction requests; other routes are not counted."""

    def __init__(self, config: ServerConfig, edges: Sequence[float]):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        values = {"model": config["model"]["name"], "version": config["version"], "environment": config["environment"]}

        def labelled(metric: Any) -> Any:
            return metric.labels(*values.values())

        self._requests = Counter(
            "evergreen_requests", "Prediction requests, by status code.", [*LABELS, "code"], registry=self.registry
        )
        self._missing = Counter(
            "evergreen_missing_values",
            "Missing values in prediction requests, by feature.",
            [*LABELS, "feature"],
            registry=self.registry,
        )
        self._optional = Counter(
            "evergreen_optional_inputs",
            "Requests that lack an optional input (absent), have one that the version does not know (ignored), or "
            "send one as another type (converted).",
            [*LABELS, "input", "treated"],
            registry=self.registry,
        )
        self.rows = labelled(Counter("evergreen_rows", "Predicted rows.", LABELS, registry=self.registry))
        self.seconds = labelled(
            Histogram(
                "evergreen_request_seconds",
                "Duration of prediction requests in seconds.",
                LABELS,
                buckets=SECONDS,
                registry=self.registry,
            )
        )
        self.prediction = labelled(
            Histogram("evergreen_prediction", "Predicted values.", LABELS, buckets=tuple(edges), registry=self.registry)
        )
        info = Gauge(
            "evergreen_model_info",
            "The version, build and release that the server serves (always 1).",
            [*LABELS, "build", "release"],
            registry=self.registry,
        )
        info.labels(*values.values(), config["build"], config["release"]).set(1)
        self._values = tuple(values.values())

    def count(self, code: int, seconds: float) -> None:
        """Record one request that was answered with ``code``."""
        self._requests.labels(*self._values, str(code)).inc()
        self.seconds.observe(seconds)

    def observe(self, features: Mapping[str, Sequence[Any]], predictions: Sequence[float]) -> None:
        """Record the missing values and the predictions of an answered request."""
        self.rows.inc(len(predictions))
        for value in predictions:
            self.prediction.observe(value)
        for name, values in features.items():
            missing = sum(value is None for value in values)
            if missing:
                self._missing.labels(*self._values, name).inc(missing)

    def count_optional(self, optional: Mapping[str, Sequence[str]]) -> None:
        """Record an answered request's optional inputs, by how they were treated."""
        for treated, names in optional.items():
            for name in names:
                self._optional.labels(*self._values, name, treated).inc()

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)
