"""One page of metrics in Prometheus' text format, built for each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Exposition:
    """Gauges that are created when they are first set; unknown values are omitted, never zero."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}

    def set(self, name: str, text: str, value: float | None, **labels: str) -> None:
        """Set ``evergreen_<name>`` with these labels; a value of None is omitted."""
        if value is None:
            return
        self._texts.setdefault(name, text)
        self._values.setdefault(name, {})[tuple(labels.items())] = value

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as prometheus-client wants them; its own would take three times as long."""
        for name, values in self._values.items():
            names = [label for label, _ in next(iter(values))]
            family = GaugeMetricFamily(f"evergreen_{name}", self._texts[name], labels=names)
            for labels, value in values.items():
                family.add_metric([text for _, text in labels], value)
            yield family

    def page(self) -> bytes:
        """All metrics as text."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def merged(pages: Iterable[bytes]) -> bytes:
    """One page of several, with all samples of a metric together, as the format wants them."""
    samples: dict[bytes, list[bytes]] = {}
    for page in pages:
        for block in (b"\n" + page).split(b"\n# HELP ")[1:]:
            text, kind, values = block.split(b"\n", 2)
            samples.setdefault(b"# HELP %b\n%b\n" % (text, kind), []).append(values.rstrip(b"\n") + b"\n")
    return b"".join(head + b"".join(values) for head, values in samples.items())
