"""One page of figures in Prometheus' text format, made anew for each scrape."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Exposition:
    """Gauges that come into being when they are first set; what is not known is left out, never zero."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

    def set(self, name: str, text: str, value: float | None, **labels: str) -> None:
        """Set ``evergreen_<name>`` with these labels; None sets nothing."""
        if value is None:
            return
        if name not in self._gauges:
            self._gauges[name] = Gauge(f"evergreen_{name}", text, list(labels), registry=self._registry)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def page(self) -> bytes:
        """All of it as text."""
        return generate_latest(self._registry)
