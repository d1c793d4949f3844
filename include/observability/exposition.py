"""One page of metrics in Prometheus' text format, built for each scrape."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Exposition:
    """Gauges that are created when they are first set; unknown values are omitted, never zero."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def set(self, name: str, text: str, value: float | None, **labels: str) -> None:
        """Set ``evergreen_<name>`` with these labels; a value of None is omitted."""
        if value is None:
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"evergreen_{name}", text, list(labels), registry=self._registry)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def page(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self._registry)
